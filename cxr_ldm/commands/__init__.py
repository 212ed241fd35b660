"""What the command line does: the only room that reads a config. It builds objects and hands them to the others."""
