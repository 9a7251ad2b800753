"""Run the analysis service: ``python -m fibstream.services.analysis plan|work --dataset PATH``."""

from fibstream.runtime.server import main

from .service import SERVICE

if __name__ == "__main__":
    main(SERVICE)
