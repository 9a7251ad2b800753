"""Run registration, whole or one role: ``python -m fibstream.services.registration serve``."""

from fibstream.runtime.main import main

from .service import SERVICE

if __name__ == "__main__":
    main(SERVICE)
