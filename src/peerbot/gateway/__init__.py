"""The API that workers use. It holds every credential; a worker holds none."""
