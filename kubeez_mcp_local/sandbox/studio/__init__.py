"""Makes the stand-in's files: pictures, clips, music, speech."""
