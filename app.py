"""The Space's entry; `headroles` on the command line does the same."""

from headroles.server.launch import build, read_settings, serve

settings = read_settings()
app = build(settings)

if __name__ == "__main__":
    serve(app, settings)
