"""The thread as people see it: their messages on the way in, progress and answers on the way out."""
