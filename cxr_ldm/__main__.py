"""python -m cxr_ldm COMMAND …: as cxr-ldm, in a clone."""

if __name__ == "__main__":  # workers started from here read this file too, and need nothing of it
    from cxr_ldm.commands.console import main

    main()
