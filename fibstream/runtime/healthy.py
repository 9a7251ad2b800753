"""Ask a service how it is: ``python -m fibstream.runtime.healthy HOST:PORT``, for containers.

The exit code is 0 when it serves and 1 otherwise, as the health check of a container has it.
"""

import sys

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

LIMIT_S = 5.0  # less than the time that a container engine gives a check


def healthy(address: str) -> bool:
    """Return whether the server at HOST:PORT says that it serves."""
    with grpc.insecure_channel(address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        try:
            answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=LIMIT_S)
        except grpc.RpcError:
            return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


if __name__ == "__main__":
    sys.exit(not healthy(sys.argv[1]))
