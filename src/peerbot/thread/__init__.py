"""What people see and do in a thread: their messages on the way in, progress and answers on the way out."""
