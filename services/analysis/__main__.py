"""Run analysis, whole or one role of it: ``python -m fibstream.services.analysis serve``."""

from fibstream.runtime.main import main

from .service import SERVICE

if __name__ == "__main__":
    main(SERVICE)
