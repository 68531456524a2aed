"""Sends a picture by Mastodon.py: URL, token, file. Prints what came of it. Runs in its own environment."""

import json
import sys

from mastodon import Mastodon, MastodonError  # type: ignore[import-not-found]

url, token, file = sys.argv[1:]
try:
    sent = Mastodon(access_token=token, api_base_url=url, version_check_mode="none").media_post(file)
    said = {"id": str(sent["id"])}
except MastodonError as error:
    said = {"error": type(error).__name__, "message": " ".join(map(str, error.args))}
sys.stdout.write(json.dumps(said))
