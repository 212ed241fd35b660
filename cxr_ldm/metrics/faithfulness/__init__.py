"""Do images show what their prompts say?"""
