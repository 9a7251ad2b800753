"""The bus of many machines: Apache Kafka behind the port ``Bus``."""
