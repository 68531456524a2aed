"""The ledger's tables as SQLAlchemy metadata, portable between SQLite and PostgreSQL. Holds no statements.

Times are seconds since the epoch. Columns that hold JSON are canonical JSON text (see `codec`), because digests are
taken over it and because text can be grouped by on every database.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from fedi_safety.ledger.reading.states import REVISION as REVISION
from fedi_safety.ledger.reading.states import State as State

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# SQLite numbers rows by itself only in a column declared INTEGER, which has 64 bits there anyway.
Id = BigInteger().with_variant(Integer(), "sqlite")
"""The type of a row's number."""

stores = Table(
    "stores",
    metadata,
    Column("id", Id, primary_key=True),
    Column("url", Text, nullable=False, unique=True),
    Column("breaker", Text),
    Column("action_breaker", Text),  # of its own for actions through the app
    Column("identity", Text),  # what told it from another in its place (device, inode); null where nothing does
)

# How far the daemon has looked at a store: only a pass that finished completely moves it.
watermarks = Table(
    "watermarks",
    metadata,
    Column("store_id", Id, ForeignKey("stores.id"), primary_key=True, autoincrement=False),
    Column("high_water", Double, nullable=False),
    Column("swept_at", Double, nullable=False),
    # What the looking rested on (act, policy, detectors); with another basis older objects must be met again.
    Column("basis", Text, nullable=False),
)

runs = Table(
    "runs",
    metadata,
    Column("id", Id, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("store", Text, nullable=False),
    Column("dry_run", Boolean, nullable=False),
    Column("whole", Boolean),  # whether it is a pass over all of the store; null where the run does not say
    Column("act", Text),  # the act that somebody chose for it; null where nobody did, or chose none
    # Whether it met all that the store holds; null while it runs, for a pass over a part, and in older runs.
    Column("complete", Boolean),
    Column("settings", Text, nullable=False),
    Column("started_at", Double, nullable=False),
    Column("ended_at", Double),
    Column("status", Text),
    Column("summary", Text),
    Index(None, "store", "dry_run"),
)

# Version strings of detectors are long and the same for millions of contents.
detector_sets = Table(
    "detector_sets",
    metadata,
    Column("id", Id, primary_key=True),
    Column("body", Text, nullable=False, unique=True),
)

NAMES_AN_ENTRY = "signals LIKE '%[[\"%'"
"""That a content meets a list: only a signal's matches are arrays in an array in its cell (`codec.further`)."""

_NOT_CLEAR = "verdict <> 'clear'"
NOT_CLEAR = text(f"contents.{_NOT_CLEAR}")
"""What the index of verdicts is of, as a condition: a query finds the index by these words beside its own."""

contents = Table(
    "contents",
    metadata,
    Column("id", Id, primary_key=True),
    Column("sha256", LargeBinary(32), nullable=False, unique=True),
    Column("size", BigInteger, nullable=False),
    Column("media_type", Text, nullable=False),
    Column("width", Integer, nullable=False),
    Column("height", Integer, nullable=False),
    Column("frames", Integer, nullable=False),
    Column("total", Integer),  # frames there are, judged or not; null where nobody knows
    Column("partly", Text),  # why only a part could be judged
    Column("decoder", Text),  # the mark of the decoder that could show a part only
    # The judgement in force; `judgements` has the history.
    Column("verdict", Text, nullable=False),
    Column("policy", Text, nullable=False),
    Column("decided", Boolean, nullable=False),
    Column("dismissed_at", Double),
    Column("scored_at", Double, nullable=False),
    Column("detectors_id", Id, ForeignKey("detector_sets.id"), nullable=False),
    Column("labels", Text, nullable=False),
    Column("run_id", Id),  # whose the first verdict is, as long as that is clear and no other came after it
    Column("shape_id", Id),  # of `compact.tables.reason_shapes`; null where `reasons` has them written out
    Column("names_id", Id),  # of `signal_names`
    # The long columns last: a lookup then need not read past them.
    Column("reasons", Text, nullable=False),
    Column("signals", Text, nullable=False),  # what numbers do not say: `{name: [place, matches]}`
    Column("scores", LargeBinary),  # see `compact.numbers`
    # What each frame was given (`core.frame_scores`): empty where all frames show one picture, null where that was not
    # kept although there are several.
    Column("frame_scores", LargeBinary),
    Index("ix_contents_not_clear", "verdict", "id", sqlite_where=text(_NOT_CLEAR)),
    Index("ix_contents_matched", "id", sqlite_where=text(NAMES_AN_ENTRY)),
)

# Networks whose embeddings are kept: their names are long and the same for millions of frames.
embedding_models = Table(
    "embedding_models",
    metadata,
    Column("id", Id, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
)

# What a network made of a content's frames, so that signals can be computed anew without the picture. Derived data: it
# goes with the last object that has the content.
embeddings = Table(
    "embeddings",
    metadata,
    Column("content_id", Id, ForeignKey("contents.id", ondelete="CASCADE"), primary_key=True, autoincrement=False),
    Column("model_id", Id, ForeignKey("embedding_models.id"), primary_key=True, autoincrement=False),
    Column("frame", Integer, primary_key=True, autoincrement=False),
    Column("encoding", Text, nullable=False),
    Column("data", LargeBinary, nullable=False),
)

# What a content's scores rest on (`core.explained.text`), of what is not plainly clear: regions, faces, frames, and the
# detectors that were not asked. Rows are few, and never read while judging.
explanations = Table(
    "explanations",
    metadata,
    Column("content_id", Id, ForeignKey("contents.id", ondelete="CASCADE"), primary_key=True, autoincrement=False),
    Column("body", Text, nullable=False),
)

# What a content is found again by, beside its SHA-256. `pictures` has a row for each (`ledger.known.hashes`), so that
# ten million contents are read in seconds. They stay when the objects are gone.
hashes = Table(
    "hashes",
    metadata,
    Column("content_id", Id, ForeignKey("contents.id", ondelete="CASCADE"), primary_key=True, autoincrement=False),
    Column("sha1", LargeBinary(20), nullable=False),
    Column("md5", LargeBinary(16), nullable=False),
    Column("pictures", LargeBinary, nullable=False),
    Column("descriptor_model", Text),
    Column("descriptors", LargeBinary),
)

# What was judged, but for a first verdict that is clear: that one stands in its content alone until another follows.
# Of the judgement in force labels, reasons and signals may be empty: they are its content's own.
judgements = Table(
    "judgements",
    metadata,
    Column("id", Id, primary_key=True),
    Column("content_id", Id, ForeignKey("contents.id"), nullable=False),
    Column("run_id", Id, ForeignKey("runs.id")),
    Column("at", Double, nullable=False),
    Column("verdict", Text, nullable=False),
    Column("policy", Text, nullable=False),
    Column("labels", Text, nullable=False),
    Column("reasons", Text, nullable=False),
    # A copy of the scores, kept unless the verdict is clear: that one is explained by the content's own.
    Column("signals", Text),
    Column("detectors_id", Id, ForeignKey("detector_sets.id"), nullable=False),
    # The event that vouches for this row; null for a clear verdict that replaces none but clear ones.
    Column("event_seq", BigInteger),
    Index(None, "content_id", "id"),
)

objects = Table(
    "objects",
    metadata,
    Column("id", Id, primary_key=True),
    Column("store_id", Id, ForeignKey("stores.id"), nullable=False),
    Column("key", LargeBinary, nullable=False),
    # Both -1 in rows taken over from the predecessor, which recorded names alone.
    Column("size", BigInteger, nullable=False),
    Column("mtime_ns", BigInteger, nullable=False),
    Column("tag", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("content_id", Id, ForeignKey("contents.id")),
    Column("sha256", LargeBinary(32)),  # of unscanned bytes; judged ones have a content
    Column("reason", Text),
    Column("detail", Text),
    Column("decoder", Text),  # the mark of the decoder whose word the reason is
    Column("attempts", Integer, nullable=False),
    Column("retry_at", Double),
    Column("first_seen", Double, nullable=False),
    Column("judged_at", Double),
    Column("group_id", Id),  # of `object_groups`
    UniqueConstraint("store_id", "key"),
    Index(None, "content_id", "group_id"),
    Index(None, "group_id", "id"),
    Index("ix_objects_sha256", "sha256", sqlite_where=text("sha256 IS NOT NULL")),
)

plans = Table(
    "plans",
    metadata,
    Column("id", Id, primary_key=True),
    Column("run_id", Id, ForeignKey("runs.id"), nullable=False),
    Column("object_id", Id, ForeignKey("objects.id"), nullable=False),
    Column("content_id", Id, ForeignKey("contents.id"), nullable=False),
    Column("act", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("open", Boolean, nullable=False),
    # The object as it was judged; an act refuses anything else.
    Column("size", BigInteger, nullable=False),
    Column("mtime_ns", BigInteger, nullable=False),
    Column("tag", Text, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("updated_at", Double, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("error", Text),
    Index(None, "object_id"),
    Index(None, "content_id"),
    Index(None, "open", "id"),
    Index(None, "state", "object_id"),
)

acts = Table(
    "acts",
    metadata,
    Column("id", Id, primary_key=True),
    Column("plan_id", Id, ForeignKey("plans.id"), nullable=False),
    Column("run_id", Id, ForeignKey("runs.id"), nullable=False),
    Column("started_at", Double, nullable=False),
    Column("started_seq", BigInteger, nullable=False),
    Column("closed_at", Double),
    Column("closed_seq", BigInteger),
    Column("outcome", Text),
    Column("detail", Text),
    Column("receipt", Text),  # what was learnt on the way, as data; null where there is nothing
    Index(None, "plan_id"),
)

dismissals = Table(
    "dismissals",
    metadata,
    Column("id", Id, primary_key=True),
    Column("sha256", LargeBinary(32), nullable=False, unique=True),
    Column("at", Double, nullable=False),
    Column("reason", Text, nullable=False),
    Column("undone_at", Double),
)

# Uploads that the gate refused, or let in without a verdict (the backlog). Judged and accepted ones leave no row here.
uploads = Table(
    "uploads",
    metadata,
    Column("id", Id, primary_key=True),
    Column("upload", Text, nullable=False, unique=True),  # the request's id
    Column("at", Double, nullable=False),
    Column("sender", Text, nullable=False),
    Column("state", Text, nullable=False),  # see `uploads.UploadState`
    Column("reason", Text, nullable=False),
    Column("detail", Text, nullable=False),
    Column("by", Text, nullable=False),
    Column("sha256", LargeBinary(32)),  # null: it is to be fetched from `url` yet
    Column("size", BigInteger),
    Column("media_type", Text),
    Column("url", Text),
    Column("tries", Integer, nullable=False),
    Column("tried_at", Double),
    Column("decoder", Text),  # the versions that could not judge it; with others it is tried again
    Column("settled_at", Double),
    Column("outcome", Text),
    Column("told", Text),  # what came with it beside its bytes
    Column("record", Text),  # of that: the medium's own record on its server
    Index(None, "state", "id"),
    Index(None, "sha256"),
    Index(None, "record"),
)

# Attempts to find out who put a content there, each a row. Of an attempt that was repeated `retry_at` is null.
traces = Table(
    "traces",
    metadata,
    Column("id", Id, primary_key=True),
    Column("run_id", Id, ForeignKey("runs.id")),
    Column("plan_id", Id, ForeignKey("plans.id")),  # whose act it came before
    Column("sha256", LargeBinary(32)),
    Column("store_id", Id, ForeignKey("stores.id")),
    Column("key", LargeBinary),
    Column("url", Text),  # where a person asked about an address
    Column("names", Text, nullable=False),  # aliases and origins
    Column("server", Text, nullable=False),
    Column("at", Double, nullable=False),
    Column("state", Text, nullable=False),  # see `TraceState`
    Column("detail", Text, nullable=False),
    Column("retry_at", Double),
    Column("event_seq", BigInteger),
    Index(None, "sha256"),
    Index(None, "retry_at"),
)

# Where a traced content was found in use: names, ids and addresses; never what a post says.
sightings = Table(
    "sightings",
    metadata,
    Column("id", Id, primary_key=True),
    Column("trace_id", Id, ForeignKey("traces.id"), nullable=False),
    Column("kind", Text, nullable=False),
    Column("way", Text, nullable=False),
    Column("certainty", Text, nullable=False),
    Column("url", Text),
    Column("person", Text),
    Column("instance", Text),
    Column("local", Boolean),
    Column("at", Double),
    Column("record", Text),
    Column("post_id", Text),
    Column("person_id", Text),
    Index(None, "trace_id"),
    Index(None, "instance"),
    Index(None, "person"),
    Index(None, "person_id", "person"),
)

# What is done about the posts, people and instances behind a content, each target of it once; see `ActionState`.
app_actions = Table(
    "app_actions",
    metadata,
    Column("id", Id, primary_key=True),
    Column("sha256", LargeBinary(32), nullable=False),
    Column("store_id", Id, ForeignKey("stores.id"), nullable=False),
    Column("trace_id", Id, ForeignKey("traces.id"), nullable=False),  # the trace and sighting that it rests on
    Column("sighting_id", Id, ForeignKey("sightings.id"), nullable=False),
    Column("run_id", Id, ForeignKey("runs.id")),  # whose doing the last change was
    Column("server", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("target", Text, nullable=False),
    Column("target_id", Text, nullable=False),
    Column("url", Text),
    Column("about", Text),  # the id of the person whose it is
    Column("state", Text, nullable=False),
    Column("open", Boolean, nullable=False),
    Column("detail", Text, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("updated_at", Double, nullable=False),
    Column("begun_at", Double),  # when it was last started
    Column("attempts", Integer, nullable=False),
    Column("event_seq", BigInteger),  # the event that tells how it stands
    UniqueConstraint("sha256", "store_id", "server", "action", "target", "target_id"),
    Index(None, "store_id", "open"),
    Index(None, "store_id", "begun_at"),
)

# A person's word that a content is what it was condemned for, which actions about people need.
confirmations = Table(
    "confirmations",
    metadata,
    Column("id", Id, primary_key=True),
    Column("sha256", LargeBinary(32), nullable=False, unique=True),
    Column("at", Double, nullable=False),
    Column("by", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("undone_at", Double),
)

# Sealed copies of what was removed: the name is written before the file, the file before the removal.
seals = Table(
    "seals",
    metadata,
    Column("id", Id, primary_key=True),
    Column("plan_id", Id, ForeignKey("plans.id"), nullable=False),
    Column("sha256", LargeBinary(32), nullable=False),
    Column("store_id", Id, ForeignKey("stores.id"), nullable=False),
    Column("key", LargeBinary, nullable=False),
    Column("vault", Text, nullable=False),
    Column("name", Text, nullable=False, unique=True),
    Column("state", Text, nullable=False),  # see `SealState`
    Column("size", BigInteger),  # of the sealed file
    Column("digest", LargeBinary(32)),
    Column("created_at", Double, nullable=False),
    Column("made_at", Double),
    Column("expires_at", Double),  # null: it does not end by itself
    Column("held", Text),  # why a person stopped that
    Column("authority", Text),
    Column("reference", Text),
    Column("filed_at", Double),
    Column("restored_at", Double),
    Column("ended_at", Double),
    Column("detail", Text, nullable=False),
    Column("event_seq", BigInteger),  # the event that tells how it stands
    Index(None, "plan_id"),
    Index(None, "sha256"),
    Index(None, "state", "expires_at"),
)

# What was decided on the review pages: written before it is carried out, so that it can be undone until then.
review_decisions = Table(
    "review_decisions",
    metadata,
    Column("id", Id, primary_key=True),
    Column("batch", Text, nullable=False),  # the same for what was decided at once
    Column("sha256", LargeBinary(32), nullable=False),
    Column("kind", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("by", Text, nullable=False),
    Column("at", Double, nullable=False),
    Column("due_at", Double, nullable=False),
    Column("state", Text, nullable=False),  # see `DecisionState`
    Column("open", Boolean, nullable=False),
    Column("detail", Text, nullable=False),
    Index(None, "batch"),
    Index(None, "sha256"),
    Index(None, "open", "due_at"),
)

# Who is signed in on the review pages: of the secret in the browser only the hash.
review_sessions = Table(
    "review_sessions",
    metadata,
    Column("digest", LargeBinary(32), primary_key=True),
    Column("person", Text, nullable=False),
    Column("stamp", Text, nullable=False),
    Column("begun_at", Double, nullable=False),
    Column("seen_at", Double, nullable=False),
    Column("proved_at", Double, nullable=False),
    Index(None, "seen_at"),
)

events = Table(
    "events",
    metadata,
    Column("seq", Id, primary_key=True, autoincrement=False),
    Column("at", Double, nullable=False),
    Column("kind", Text, nullable=False),
    Column("payload", Text, nullable=False),
    # Copies of what the payload says, to find events by.
    Column("sha256", LargeBinary(32)),
    Column("plan_id", Id),
    Column("prev_hash", LargeBinary(32), nullable=False),
    Column("hash", LargeBinary(32), nullable=False),
    Index(None, "sha256"),
    Index(None, "plan_id"),
)

OF_VIEWS = "kind IN ('viewed', 'view.limit')"
"""That an event is of a view or of a limit of views, in the words of the index by which these few are found."""

# One row: how many events there are and the hash of the last, so that a shortened chain is noticed.
chain = Table(
    "chain",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("length", BigInteger, nullable=False),
    Column("head", LargeBinary(32), nullable=False),
)

PARTIAL_INDEXES = (
    # Two writers cannot plan two acts on one object.
    "CREATE UNIQUE INDEX uq_plans_one_open ON plans (object_id) WHERE open",
    # Two people cannot decide about one content at once.
    "CREATE UNIQUE INDEX uq_review_decisions_one_open ON review_decisions (sha256) WHERE open",
    f"CREATE INDEX ix_events_of_views ON events (seq) WHERE {OF_VIEWS}",
)
"""Indexes beside those of the tables, in words of all databases: SQLAlchemy's would load PostgreSQL's dialect at every
start."""
