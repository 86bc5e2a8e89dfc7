"""What `doctor` looks at: one file a subject, each giving findings. Nothing is spent, and nothing is written."""
