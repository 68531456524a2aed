-- Re-expressed from what is known of Pleroma's migrations (soapbox-pub/rebased@cb3e0462); not its own files.
CREATE EXTENSION IF NOT EXISTS citext;
CREATE TABLE users (
    id uuid PRIMARY KEY, email citext, password_hash text, nickname citext UNIQUE, ap_id text UNIQUE, local boolean,
    keys text, avatar jsonb, banner jsonb, bio text);
CREATE TABLE objects (id bigserial PRIMARY KEY, data jsonb, inserted_at timestamp NOT NULL, updated_at timestamp);
CREATE UNIQUE INDEX objects_unique_apid_index ON objects ((data->>'id'));
CREATE INDEX objects_actor_type ON objects ((data->>'actor'), (data->>'type'));
CREATE INDEX objects_tags ON objects USING gin ((data->'tag'));

INSERT INTO users (id, email, nickname, ap_id, local, avatar, banner) VALUES
    ('0c1b2a39-4857-4665-9748-3f2e1d0c9b01', 'ada@social.example', 'ada', 'https://social.example/users/ada', true,
     '{"type": "Image", "url": [{"href": "https://social.example/media/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.png"}]}',
     NULL),
    ('0c1b2a39-4857-4665-9748-3f2e1d0c9b02', 'bob@social.example', 'bob', 'https://social.example/users/bob', true, NULL,
     '{"type": "Image", "url": [{"href": "https://social.example/media/0c1b2a39-4857-4665-9748-3f2e1d0c9b8a/a%20cat.png"}]}'),
    ('0c1b2a39-4857-4665-9748-3f2e1d0c9b03', NULL, 'eve@far.example', 'https://far.example/users/eve', false, NULL, NULL);
INSERT INTO objects (id, data, inserted_at) VALUES
    (1, '{"type": "Document", "actor": "https://social.example/users/ada", "name": "cat", "url": [{"type": "Link",
      "href": "https://social.example/media/e30397c5f8d1a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d5e6f708192a3b.png"}]}',
     '2026-02-03 04:00:00'),
    (2, '{"type": "Note", "id": "https://social.example/objects/1", "actor": "https://social.example/users/ada",
      "content": "said", "attachment": [{"type": "Document", "url": [{"type": "Link", "mediaType": "image/png",
      "href": "https://social.example/media/e30397c5f8d1a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d5e6f708192a3b.png"}]}]}',
     '2026-02-03 04:05:06'),
    (3, '{"type": "Document", "actor": "https://social.example/users/bob", "name": "cat", "url": [{"type": "Link",
      "href": "https://social.example/media/e30397c5f8d1a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d5e6f708192a3b.png"}]}',
     '2026-02-03 04:00:01'),
    (4, '{"type": "ChatMessage", "id": "https://far.example/objects/4", "actor": "https://far.example/users/eve",
      "content": "https://social.example/media/e3/03/97/e30397c5f8d1a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d5e6f708192a3b.png"}',
     '2026-02-03 04:00:02');
