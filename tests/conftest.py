"""Every example that hypothesis draws follows from the test alone: a failure replays anywhere."""

from hypothesis import settings

settings.register_profile("seeded", derandomize=True, deadline=None, database=None)
settings.load_profile("seeded")
