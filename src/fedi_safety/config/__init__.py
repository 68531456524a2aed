"""The configuration: one closed schema, how it is loaded, and the predecessor's names for it."""

import os

# Settings hold secrets, and no plugin of pydantic's, which any package can bring, has business with them. Looking for
# them reads every installed package's description as well.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
