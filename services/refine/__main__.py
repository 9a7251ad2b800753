"""Run the refine service: ``python -m fibstream.services.refine plan|work --dataset PATH``."""

from fibstream.runtime.server import main

from .service import SERVICE

if __name__ == "__main__":
    main(SERVICE)
