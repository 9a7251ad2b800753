"""Run census, whole or one role of it: ``python -m fibstream.services.census serve``."""

from fibstream.runtime.main import main

from .service import SERVICE

if __name__ == "__main__":
    main(SERVICE)
