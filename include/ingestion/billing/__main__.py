"""``python -m ingestion.billing``: see :mod:`ingestion.billing.process`."""

import sys

from ingestion.billing.process import main

if __name__ == "__main__":
    sys.exit(main())
