"""python -m cxr_ldm COMMAND …: as cxr-ldm, in a clone."""

from cxr_ldm.commands.console import main

if __name__ == "__main__":
    main()
