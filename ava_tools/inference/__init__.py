"""Write what trained models give for many videos to files, and models themselves."""
