"""The Space's entry; `headroles` on the command line does the same."""

from headroles.settings import read_settings

settings = read_settings()  # first: gradio reads some of the environment as it is imported

from headroles.server.launch import build, serve  # noqa: E402

app = build(settings)

if __name__ == "__main__":
    serve(app, settings)
