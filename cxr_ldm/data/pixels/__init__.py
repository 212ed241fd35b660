"""Pixels of DICOM, PNG and JPEG files to grey pictures."""
