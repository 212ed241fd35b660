"""python -m cxr_ldm COMMAND …: as cxr-ldm, in a clone."""

if __name__ == "__main__":  # what processes started from here, which read this file too, need none of
    from cxr_ldm.commands.console import main

    main()
