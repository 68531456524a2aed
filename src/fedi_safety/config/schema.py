"""The one closed schema of the configuration: a TOML file, FEDI_SAFETY_* variables and `.env`, the predecessor's names.

Unknown keys are refused and every problem is listed at once. It opens no store, ledger or model.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, SecretStr, field_validator

from fedi_safety.config.evidence import Evidence
from fedi_safety.config.notices import Hooks, Notify
from fedi_safety.config.review import Review
from fedi_safety.config.section import THIS_MACHINE, Commas, Network, OnUnjudged
from fedi_safety.config.section import Section as _Section
from fedi_safety.config.upstream import GateUpstream
from fedi_safety.core.enums import ACT_WORDS
from fedi_safety.core.sealing.copies import SECRET_MARKS
from fedi_safety.core.sealing.law import Preset

ENV_PREFIX = "FEDI_SAFETY_"
if TYPE_CHECKING:
    ActWord = str
else:
    ActWord = Literal[ACT_WORDS]  # whatever acts there are; a type checker knows no such thing
LogLevel = Literal["debug", "info", "warning", "error"]
Device = Literal["auto", "cpu", "cuda", "tensorrt", "rocm", "openvino", "coreml", "directml"]


SourceWord = Literal["url", "ncmec", "stopncii", "tech_against_terrorism", "hma", "arachnid_shield"]


class Breaker(_Section):
    """When the actions of a run stop by themselves."""

    max_removed_share: float = Field(
        0.05, ge=0, le=1, description="Stop when more than this share of the judged objects would be removed."
    )
    min_judged: int = Field(200, ge=1, description="The share of removals counts from this many judged objects on.")
    max_removed: int = Field(1000, ge=0, description="Stop when more objects than this would be removed in one run.")
    max_removed_by_list: int = Field(
        200, ge=0, description="Stop when more objects than this would be removed within a day for one list alone."
    )
    max_unscanned_share: float = Field(
        0.5, ge=0, le=1, description="Stop when more than this share of the listed media is unscanned."
    )
    min_listed: int = Field(200, ge=1, description="The share of unscanned counts from this many listed media on.")
    max_gone_share: float = Field(
        0.5,
        ge=0,
        le=1,
        description="Stop when a store lists fewer objects than are known of it by more than this share, or when more "
        "than this share of what was to be removed was gone already.",
    )
    min_known: int = Field(20, ge=1, description="The share of gone counts from this many objects on.")


class Limits(_Section):
    """Caps for every single object; what exceeds one is unscanned, never removed."""

    max_bytes: int = Field(128 << 20, ge=1 << 10, description="The largest object that is read, in bytes.")
    max_pixels: int = Field(100_000_000, ge=1 << 10, description="The largest picture that is decoded, in pixels.")
    max_memory_bytes: int = Field(2 << 30, ge=256 << 20, description="Address space of one decoder process, in bytes.")
    max_seconds: float = Field(30.0, gt=0, le=3600, description="The longest that decoding one object may take.")
    frames: int = Field(16, ge=1, le=256, description="Frames of an animation or clip that a first pass judges.")
    more_frames: int = Field(
        64, ge=1, le=256, description="Frames of a second pass, where the first came near to a rule; none unless more."
    )
    tiles: int = Field(
        12,
        ge=0,
        le=100,
        description="Tiles of a long picture that a first pass judges besides the whole; 0 means none.",
    )
    more_tiles: int = Field(
        48, ge=0, le=100, description="Tiles and other views of a picture in a second pass; 0 means that it has none."
    )
    svg: Literal["render", "unsupported"] = Field(
        "render", description="Whether SVG drawings are rendered and judged, or left unscanned as `unsupported`."
    )


class S3(_Section):
    """How to reach S3-compatible object storage."""

    access_key_id: str | None = Field(None, description="The access key's id; else $AWS_ACCESS_KEY_ID.")
    secret_access_key: SecretStr | None = Field(None, description="The secret key; else $AWS_SECRET_ACCESS_KEY.")
    session_token: SecretStr | None = Field(None, description="A session token, for temporary credentials.")
    profile: str | None = Field(
        None, description="The profile in `credentials_file` that has the keys; else $AWS_PROFILE, else `default`."
    )
    credentials_file: str | None = Field(
        None, description="Where keys are looked for that are set nowhere else. Default: ~/.aws/credentials."
    )
    endpoint: str | None = Field(None, description="The service's URL; else $OBJECT_STORAGE_ENDPOINT; else Amazon's.")
    region: str | None = Field(None, description="The region; most services other than Amazon's do not care.")
    style: Literal["path", "virtual"] | None = Field(None, description="How buckets are addressed.")
    connections: int = Field(8, ge=1, le=256, description="Objects fetched at once.")


class Ssh(_Section):
    """How to reach a server over SSH."""

    known_hosts: str | None = Field(None, description="The file of known host keys. Default: ~/.ssh/known_hosts.")
    identity_file: str | None = Field(None, description="A private key; left out, the agent and ~/.ssh are asked.")
    passphrase: SecretStr | None = Field(None, description="The private key's passphrase.")
    connections: int = Field(4, ge=1, le=32, description="Connections held at once.")


class Pictrs(_Section):
    """How to reach the pict-rs that owns the media."""

    url: str | None = Field(None, description="Its internal URL, for `purge` on file and S3 stores.")
    api_key: SecretStr | None = Field(None, description="Its API key (PICTRS__SERVER__API_KEY).")
    database: SecretStr | None = Field(
        None, description="Its PostgreSQL repository, read only, to find aliases and thumbnails."
    )


class Trace(_Section):
    """How to find out who put a condemned object there: the server that serves the media, and the ways to ask it."""

    server: str | None = Field(
        None, min_length=1, description="The server's kind, such as `mastodon`; left out: nothing is traced."
    )
    url: str | None = Field(None, min_length=1, description="Its public URL, such as https://social.example.")
    database: SecretStr | None = Field(None, description="Its PostgreSQL database, by a role that may only read.")
    token: SecretStr | None = Field(None, description="A token for its API, of an account that may moderate.")
    limit_s: float = Field(10.0, gt=0, le=600, description="The longest that tracing one object may take, in seconds.")
    wait_s: float = Field(
        3600.0,
        ge=0,
        le=604_800,
        description="Seconds for which `purge` waits for a server that cannot be asked, before it goes on untraced.",
    )
    actions: tuple[str, ...] = Field(
        (), description="What is done about the posts and people behind condemned objects, such as `report`."
    )
    max_actions: int = Field(
        20, ge=0, le=100_000, description="Stop such actions when more than this would begin within a day."
    )


class Clip(_Section):
    """The detector `clip`: which model, which concepts, how it runs."""

    model: str = Field(
        "ViT-L-14__openai", min_length=1, description="The model's name: its folder in `clip.model_dir`."
    )
    model_dir: str | None = Field(None, description="Where models are kept. Default: models beside the default ledger.")
    hub: str = Field(
        "https://huggingface.co", min_length=1, description="Where `models fetch` gets models: the address of a hub."
    )
    precision: Literal["auto", "fp32", "bf16", "fp16", "int8"] = Field(
        "auto", description="The number format of the network for pictures."
    )
    concepts: str = Field("default", min_length=1, description="What to look for: `default` or a file of concepts.")
    learned: list[str] = Field(
        default_factory=list,
        description="Heads that `concepts learn` wrote, by name or file: the signals `learned.NAME`.",
    )
    batch: int = Field(0, ge=0, le=1024, description="Pictures the network gets at once; 0 means found by itself.")
    unload_after_s: float = Field(
        600.0, ge=0, le=86400, description="Idle seconds after which the network leaves memory; 0 means never."
    )
    keep_embeddings: Literal["no", "float16", "int8"] = Field(
        "no", description="Whether the ledger keeps each frame's embedding, for concepts to come."
    )


class KnownSource(_Section):
    """A source that a list of known images is fetched from, by `watch` and `hashes fetch`."""

    name: str = Field(min_length=1, max_length=100, description="The name of the source and of its list.")
    kind: SourceWord = Field(description="What is asked there, such as `url`.")
    url: str | None = Field(None, min_length=1, description="Its address. Default: where its kind has only one, that.")
    credentials_file: str | None = Field(
        None, min_length=1, description="A file with the credentials, in the words of its kind."
    )
    credentials_variable: str | None = Field(
        None, min_length=1, description="The environment variable that has the credentials instead."
    )
    effect: Literal["block", "review", "negative"] = Field("block", description="What its list does.")
    distance: int = Field(31, ge=0, le=64, description="Bits of 256 by which a PDQ may differ from one on its list.")
    redistribute: bool = Field(False, description="Whether its list may be passed on.")
    every_s: float = Field(3600.0, ge=60, le=2_592_000, description="How often `watch` fetches it, in seconds.")
    categories: tuple[str, ...] = Field(
        (), description="Only entries of these categories, for `hma` banks; empty: all."
    )
    format: str | None = Field(None, min_length=1, description="For `url`: the file's format; left out, as it looks.")
    hash_kind: Literal["sha256", "sha1", "md5", "pdq"] | None = Field(
        None, description="For `url`: what hashes are that stand without a kind."
    )
    send_hashes: bool = Field(
        False, description="Lets a kind that needs it tell hashes of stored pictures to its source."
    )


class Known(_Section):
    """Lists of known images: where they are kept, and when one is believed less."""

    folder: str | None = Field(
        None, description="Where lists of known images are kept. Default: known beside the ledger."
    )
    near: str | None = Field(
        None, min_length=1, description="A copy descriptor's name, for `known.near`: its folder in `clip.model_dir`."
    )
    near_distance: int = Field(
        140, ge=0, le=200, description="Bits of 512 by which a descriptor may differ from one of your own removals."
    )
    min_dismissed: int = Field(
        3, ge=1, description="A list is believed less only after this many of its hits were dismissed."
    )
    max_dismissed_share: float = Field(
        0.1,
        ge=0,
        le=1,
        description="A list that blocks turns to review when more than this share of its hits was dismissed.",
    )
    sources: list[KnownSource] = Field(
        default_factory=list, description="Sources of lists, each a [[known.sources]] table."
    )


class Sharing(_Section):
    """Lists that are given to other instances, and had from them."""

    name: str | None = Field(
        None,
        min_length=1,
        description="What this instance's own list is called, usually its domain; needed to publish.",
    )
    unconfirmed: str | None = Field(
        None,
        min_length=1,
        description="A preset or policy file: what it condemns as well is published as an advisory although no person "
        "confirmed it. Left out, only what was confirmed is published.",
    )
    agreeing: int = Field(
        2, ge=1, le=100, description="So many publishers of different groups must list an image before it is condemned."
    )
    wait_s: float = Field(
        86_400.0,
        ge=0,
        description="Seconds that a new entry of a publisher waits before it counts by itself.",
    )
    max_clear: int = Field(
        20, ge=0, description="An entry that meets more contents than this that were judged clear is held."
    )
    max_entries: int = Field(
        200_000, ge=1, le=10_000_000, description="The most entries that one publisher may have in force."
    )
    max_entries_per_day: int = Field(
        10_000, ge=1, description="The most entries that one publisher may add within a day, after the first fetch."
    )
    requests_per_minute: float = Field(
        60.0, gt=0, description="Requests a minute that one subscriber may send to this instance."
    )


class Seal(_Section):
    """The act `seal`: for whose keys copies are made, where they are kept, and what then takes the original."""

    recipients: tuple[str, ...] = Field(
        (), description="Public keys that open sealed copies, of age or ssh. Their secret halves lie elsewhere."
    )
    vault: str | None = Field(
        None,
        min_length=1,
        description="Where sealed copies are kept, outside every store: a directory, sftp:// or s3://.",
    )
    then: Literal["delete", "purge"] | None = Field(
        None,
        description="What removes the original. Default: purge where the store is a pict-rs or one is configured, "
        "else delete.",
    )
    keep_days: float | None = Field(
        None, gt=0, le=36_500, description="Days after which a sealed copy is destroyed. Default: as `law.preset` says."
    )
    s3: S3 | None = Field(None, description="How to reach a vault on S3, where that differs from [s3].")
    ssh: Ssh | None = Field(None, description="How to reach a vault over SSH, where that differs from [ssh].")

    @field_validator("recipients")
    @classmethod
    def _public(cls, words: tuple[str, ...]) -> tuple[str, ...]:
        if any(mark in word.upper() for word in words for mark in SECRET_MARKS):
            raise ValueError(
                "one of them is a secret key, which must never be on this machine: put its public half there, and "
                "better make a new key, for this one was here"
            )
        return words


class LawOfThePlace(_Section):
    """What the law of the place asks for, as far as a preset can say it (docs/law.md; not legal advice)."""

    preset: Preset | None = Field(None, description="Sets what is done, and how long a sealed copy is kept.")


class NamedStore(_Section):
    """One of several stores, with its own access where that differs."""

    name: str = Field(min_length=1, description="How commands may call it.")
    url: str = Field(min_length=1, description="A path or a URL.")
    s3: S3 | None = None
    ssh: Ssh | None = None
    pictrs: Pictrs | None = None
    trace: Trace | None = None


class GateUnjudged(_Section):
    """What the gate answers, by the reason, when it could not judge an upload. What it accepts waits for a verdict."""

    no_worker: OnUnjudged = Field("accept", description="Only workers judge, and none has asked for work lately.")
    queue_full: OnUnjudged = Field(
        "accept", description="There was no place in the queue until the body's deadline, or none that came in time."
    )
    deadline: OnUnjudged = Field("accept", description="There was no verdict within the deadline.")
    stopping: OnUnjudged = Field("accept", description="The gate was being stopped.")
    engine_failed: OnUnjudged = Field("accept", description="A detector or a worker failed.")
    unsupported: OnUnjudged = Field("accept", description="Media of a kind that is not decoded here.")
    unopened: OnUnjudged = Field(
        "refuse", description="Only predecessors' workers are there, which open no clip, AVIF, JXL, SVG or the like."
    )
    decoder_failed: OnUnjudged = Field("refuse", description="Corrupt, truncated, or too much for the decoder.")
    not_media: OnUnjudged = Field("refuse", description="The upload is no media.")
    empty: OnUnjudged = Field("refuse", description="The upload is empty.")
    unrecorded: OnUnjudged = Field(
        "refuse", description="One of the above says `accept`, and the ledger cannot be written."
    )
    partly: OnUnjudged = Field(
        "accept", description="A part could be judged, and is clear; the rest could not. It waits for no verdict then."
    )


class Gate(_Section):
    """The gate: where it listens, who may ask, how much and how long."""

    host: str = Field("127.0.0.1", min_length=1, description="The address to listen on; 0.0.0.0 or :: for all.")
    port: int = Field(14051, ge=1, le=65535, description="The port to listen on.")
    engine: bool = Field(True, description="Judge in this process. Without it only workers judge.")
    store: str | None = Field(
        None,
        description="The store that uploads end in, where those let in without a verdict are found again. "
        "Default: `store`.",
    )
    tokens: dict[str, SecretStr] = Field(
        default_factory=dict, description="Names of callers, with the secret that each has in its URL."
    )
    networks: tuple[Network, ...] = Field(
        THIS_MACHINE,
        description="Networks whose callers need no token. Default: this machine.",
    )
    trusted_proxies: tuple[Network, ...] = Field((), description="Proxies whose X-Forwarded-For is believed.")
    worker_keys: dict[str, SecretStr] = Field(
        default_factory=dict, description="Names of workers, with their keys; several for rotation."
    )
    deadline_s: float = Field(
        20.0, ge=1, le=600, description="Seconds after which an upload is answered, whatever is known of it."
    )
    body_s: float = Field(
        10.0,
        gt=0,
        le=600,
        description="Seconds within which all of an upload must have arrived; so long it waits for memory, and for a "
        "place in the queue.",
    )
    max_bytes: int = Field(128 << 20, ge=1 << 10, description="The largest upload that is taken, in bytes.")
    held_bytes: int = Field(256 << 20, ge=1 << 20, description="Bytes of all uploads that are held at once.")
    queue: int = Field(64, ge=1, le=10_000, description="Uploads that may wait for the engine.")
    worker_queue: int = Field(
        64, ge=0, le=10_000, description="Uploads that may wait for workers; 0 means any number that memory allows."
    )
    worker_missing_s: float = Field(
        5.0, ge=0, description="Seconds without a worker asking, after which there is none; 0 means never."
    )
    connections: int = Field(1024, ge=1, le=10_000, description="Connections held at once.")
    rate: float = Field(0.0, ge=0, description="Uploads a second that one caller may send; 0 means any number.")
    alert_s: float = Field(
        3600.0,
        gt=0,
        description="Seconds that an upload may wait for its verdict after it was let in, before it is an alert.",
    )
    log: Literal["text", "json"] = Field("text", description="How the gate writes its log.")
    pdq_hosts: list[str] = Field(
        default_factory=list, description="Hosts whose pictures `/pdq` may fetch; empty: it is off."
    )
    mastodon_secret: SecretStr | None = Field(
        None, description="The secret of Mastodon's webhook; left out: it is off."
    )
    mastodon_hosts: list[str] = Field(
        default_factory=list, description="Hosts that serve Mastodon's media, for the webhook."
    )
    unjudged: GateUnjudged = Field(default_factory=GateUnjudged)
    upstream: dict[str, GateUpstream] = Field(
        default_factory=dict,
        description="Servers that uploads are handed on to, each a [gate.upstream.NAME] table.",
    )


class RemoteGate(_Section):
    """A gate elsewhere, ours or a pictrs-safety, that a worker judges for."""

    name: str = Field(min_length=1, description="How it is called in logs, and on the command line.")
    url: str = Field(min_length=1, description="Its URL.")
    key: SecretStr | None = Field(None, description="The worker's key there. Default: worker.key.")


class Worker(_Section):
    """What a worker needs to know: the gates, and the keys to them."""

    key: SecretStr | None = Field(None, description="The worker's key, for gates that have none of their own.")
    gates: list[RemoteGate] = Field(default_factory=list, description="Gates, each a [[worker.gates]] table.")


class Settings(_Section):
    """Everything that can be configured. The command line overrides these.

    Values come from `load_settings` alone, which has merged the sources and checked the variables' names.
    """

    store: str | None = Field(None, description="The store that commands use when none is named: a path or a URL.")
    ledger: str | None = Field(
        None,
        description="The ledger: a path, or a URL of sqlite or postgresql. Default: ledger.db in /var/lib/fedi-safety "
        "where that exists, else in the user's data directory.",
    )
    policy: str = Field("balanced", min_length=1, description="A preset (cautious, balanced, strict) or a policy file.")
    act: ActWord | None = Field(
        None,
        description="What is done about condemned objects. Removing needs a choice; without one dry runs plan "
        "delete, or purge where the store is a pict-rs.",
    )
    detectors: Annotated[list[str], Commas] = Field(
        ["embedded"], min_length=1, description="Which detectors judge; in a variable, with commas between."
    )
    device: Device = Field("auto", description="What the detectors run on.")
    precision: Literal["auto", "fp32", "int8"] = Field(
        "auto", description="The number format in which open_nsfw is asked first, on a processor."
    )
    jobs: int = Field(0, ge=0, le=256, description="Decoder processes and scoring threads; 0 means one per core.")
    log_level: LogLevel = Field("warning", description="How much is logged.")
    breaker: Breaker = Field(default_factory=Breaker)
    limits: Limits = Field(default_factory=Limits)
    s3: S3 = Field(default_factory=S3)
    ssh: Ssh = Field(default_factory=Ssh)
    pictrs: Pictrs = Field(default_factory=Pictrs)
    trace: Trace = Field(default_factory=Trace)
    clip: Clip = Field(default_factory=Clip)
    known: Known = Field(default_factory=Known)
    sharing: Sharing = Field(default_factory=Sharing)
    seal: Seal = Field(default_factory=Seal)
    law: LawOfThePlace = Field(default_factory=LawOfThePlace)
    evidence: Evidence = Field(default_factory=Evidence)
    notify: Notify = Field(default_factory=Notify)
    hooks: Hooks = Field(default_factory=Hooks)
    gate: Gate = Field(default_factory=Gate)
    review: Review = Field(default_factory=Review)
    worker: Worker = Field(default_factory=Worker)
    stores: list[NamedStore] = Field(default_factory=list, description="Several stores, each a [[stores]] table.")

    @field_validator("detectors", mode="before")
    @classmethod
    def _names(cls, value: object) -> object:
        return [name.strip() for name in value.split(",") if name.strip()] if isinstance(value, str) else value
