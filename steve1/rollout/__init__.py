"""Playing: one episode, its trace and its video. No model is loaded and no task is judged here."""
