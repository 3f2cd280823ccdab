"""``python -m ingestion.own_logs``: see :mod:`ingestion.own_logs.importer`."""

import sys

from ingestion.own_logs.importer import main

if __name__ == "__main__":
    sys.exit(main())
