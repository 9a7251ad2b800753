"""Declaring topics: those that are missing are created, the others compared."""

from collections.abc import Sequence

from kafka.admin import ConfigResource, ConfigResourceType
from kafka.errors import TopicAlreadyExistsError

from fibstream.bus.topics import PARTITIONS, Topic, declared
from fibstream.core.errors import Retryable, WrongUse

from .link import Link, open_link, release


def declare(servers: str, services: Sequence[str] = (), partitions: int = PARTITIONS) -> list[str]:
    """Create the topics of services, by default of all, that are missing; return their names.

    Raise WrongUse when one is there that is cleaned up otherwise than declared: its records would
    be lost, or never go.
    """
    link = open_link(servers)
    try:
        wanted = declared(services, partitions)
        there = set(link.topics("fibstream."))
        _check(link, [topic for topic in wanted if topic.name in there])
        missing = [topic for topic in wanted if topic.name not in there]
        if missing:
            _create(link, missing)
        return [topic.name for topic in missing]
    finally:
        release(link)


def _create(link: Link, topics: Sequence[Topic]) -> None:
    wanted = {
        t.name: {"num_partitions": t.partitions, "replication_factor": -1, "configs": t.config}
        for t in topics
    }
    try:
        link.admin(lambda admin: admin.create_topics(wanted, wait_for_metadata=True))
    except Retryable as error:
        if not isinstance(error.__cause__, TopicAlreadyExistsError):
            raise
        names = list(wanted)  # another process declares them at the same time
        link.admin(lambda admin: admin.wait_for_topics(names))
        _check(link, topics)


def _check(link: Link, topics: Sequence[Topic]) -> None:
    if not topics:
        return
    resources = [ConfigResource(ConfigResourceType.TOPIC, topic.name) for topic in topics]
    found = link.admin(lambda admin: admin.describe_configs(resources, config_filter="all"))
    for topic in topics:
        policy = found["topic"][topic.name]["cleanup.policy"]["value"]
        wanted = topic.config["cleanup.policy"]
        if set(policy.split(",")) != set(wanted.split(",")):
            raise WrongUse(
                f"kafka {link.servers}: topic {topic.name} has cleanup.policy={policy}, expected"
                f" {wanted}: change it, or delete the topic and declare again"
            )
