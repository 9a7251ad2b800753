"""Run refine, whole or one role of it: ``python -m fibstream.services.refine serve``."""

from fibstream.runtime.main import main

from .service import SERVICE

if __name__ == "__main__":
    main(SERVICE)
