"""``python -m localcloud.faults``: see :mod:`localcloud.faults.armed`."""

from localcloud.faults.armed import main

if __name__ == "__main__":
    raise SystemExit(main())
