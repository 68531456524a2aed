-- Re-expressed from what is known of Pixelfed's migrations (0.11.13), as PostgreSQL has them; not its own files.
CREATE TABLE profiles (
    id bigint PRIMARY KEY, username varchar(255), domain varchar(255), bio text, private_key text, deleted_at timestamp);
CREATE TABLE users (
    id bigint PRIMARY KEY, profile_id bigint UNIQUE, username varchar(255), email varchar(255) UNIQUE, password varchar(255),
    app_register_ip varchar(255));
CREATE TABLE statuses (
    id bigint PRIMARY KEY, uri varchar(255), caption text, rendered text, profile_id bigint, in_reply_to_id bigint,
    url varchar(255), visibility varchar(255) NOT NULL DEFAULT 'public', created_at timestamp);
CREATE INDEX ON statuses (profile_id);
CREATE TABLE media (
    id bigint PRIMARY KEY, status_id bigint, profile_id bigint, user_id bigint, original_sha256 varchar(255),
    optimized_sha256 varchar(255), caption text, media_path varchar(255) NOT NULL, thumbnail_path varchar(255),
    cdn_url varchar(255), remote_media boolean, created_at timestamp, UNIQUE (status_id, media_path));
CREATE INDEX ON media (user_id);
CREATE INDEX ON media (original_sha256);
CREATE INDEX ON media (optimized_sha256);
CREATE TABLE avatars (id bigint PRIMARY KEY, profile_id bigint UNIQUE NOT NULL, media_path varchar(255), thumb_path varchar(255));
CREATE TABLE stories (
    id bigint PRIMARY KEY, profile_id bigint NOT NULL, path varchar(255), story json, created_at timestamp,
    UNIQUE (profile_id, path));

INSERT INTO profiles (id, username, domain) VALUES (371, 'ada', NULL), (372, '@eve@far.example', 'far.example');
INSERT INTO users (id, profile_id, email) VALUES (1, 371, 'ada@social.example');
INSERT INTO statuses (id, uri, profile_id, in_reply_to_id, url, visibility, created_at) VALUES
    (501, NULL, 371, NULL, NULL, 'public', '2026-02-03 04:05:06'),
    (502, 'https://far.example/p/eve/9', 372, 501, NULL, 'public', '2026-02-03 04:05:07'),
    (503, NULL, 371, NULL, 'https://social.example/p/ada/503', 'direct', '2026-02-03 04:05:08');
INSERT INTO media (id, status_id, profile_id, user_id, original_sha256, optimized_sha256, media_path, thumbnail_path, created_at)
VALUES
    (1, 501, 371, 1, NULL, repeat('ab', 32), 'public/m/_v2/371/109a3c4d5-e6f708/AbCdEfGhIjKl/one.jpg',
     'public/m/_v2/371/109a3c4d5-e6f708/AbCdEfGhIjKl/one_thumb.jpg', '2026-02-03 04:00:00'),
    (2, 502, 372, NULL, NULL, NULL, 'public/m/_v2/372/109a3c4d5-e6f708/AbCdEfGhIjKl/two.jpg', NULL, '2026-02-03 04:00:01'),
    (3, 503, 371, 1, repeat('ab', 32), NULL, 'public/m/_v2/371/109a3c4d5-e6f708/AbCdEfGhIjKl/three.jpg', NULL,
     '2026-02-03 04:00:02'),
    (4, NULL, 371, 1, NULL, NULL,
     'public/m/e30397c5f8d1a2b3c4d5e6f708192a3b4c5d6e7f/8091a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3/four.jpg', NULL,
     '2026-02-03 04:00:03');
INSERT INTO avatars VALUES (1, 371, 'public/cache/avatars/371/avatar_abc.png', NULL);
INSERT INTO stories (id, profile_id, path, created_at)
VALUES (7, 371, 'public/_esm.t3/Ab3dEf/Gh1jKl/AbCdEf_x/0123.jpg', '2026-02-03 04:00:04');
