"""Run inference: ``python -m fibstream.services.inference plan|work --dataset PATH``."""

from fibstream.runtime.server import main

from .service import SERVICE

if __name__ == "__main__":
    main(SERVICE)
