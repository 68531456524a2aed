-- Re-expressed from what is known of Mbin's src/Entity (MbinOrg/mbin@1a2813a5); not its own migrations.
CREATE TABLE image (
    id serial PRIMARY KEY, file_path varchar(255), file_name varchar(255) UNIQUE, sha256 bytea UNIQUE NOT NULL, alt_text text,
    source_url text, created_at timestamptz NOT NULL);
CREATE TABLE "user" (
    id serial PRIMARY KEY, username varchar(255), email varchar(255), password varchar(255), private_key text, about text,
    ap_id varchar(255) UNIQUE, ap_profile_id varchar(255), ap_domain varchar(255), avatar_id int, cover_id int);
CREATE INDEX ON "user" (avatar_id);
CREATE INDEX ON "user" (cover_id);
CREATE TABLE magazine (
    id serial PRIMARY KEY, name varchar(255), description text, private_key text, ap_id varchar(255), ap_domain varchar(255),
    icon_id int, banner_id int);
CREATE INDEX ON magazine (icon_id);
CREATE INDEX ON magazine (banner_id);
CREATE TABLE entry (
    id serial PRIMARY KEY, user_id int NOT NULL, magazine_id int NOT NULL, image_id int, title varchar(255), body text,
    ip varchar(255), ap_id varchar(255) UNIQUE, created_at timestamptz NOT NULL);
CREATE INDEX ON entry (image_id);
CREATE TABLE entry_comment (
    id serial PRIMARY KEY, user_id int NOT NULL, entry_id int NOT NULL, magazine_id int NOT NULL, image_id int, body text,
    ip varchar(255), ap_id varchar(255) UNIQUE, created_at timestamptz NOT NULL);
CREATE INDEX ON entry_comment (image_id);
CREATE TABLE post (
    id serial PRIMARY KEY, user_id int NOT NULL, magazine_id int NOT NULL, image_id int, body text, ip varchar(255),
    ap_id varchar(255) UNIQUE, created_at timestamptz NOT NULL);
CREATE INDEX ON post (image_id);
CREATE TABLE post_comment (
    id serial PRIMARY KEY, user_id int NOT NULL, post_id int NOT NULL, magazine_id int NOT NULL, image_id int, body text,
    ip varchar(255), ap_id varchar(255) UNIQUE, created_at timestamptz NOT NULL);
CREATE INDEX ON post_comment (image_id);

INSERT INTO image (id, file_path, file_name, sha256, created_at) VALUES
    (1, 'e3/03/e30397c5f8d1a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d5e6f708192a3b.jpg',
     'e30397c5f8d1a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d5e6f708192a3b.jpg',
     '\xe30397c5f8d1a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d5e6f708192a3b', '2026-02-03 04:00:00+00'),
    (2, NULL, 'two', decode(repeat('ab', 32), 'hex'), '2026-02-03 04:00:01+00'),
    (3, NULL, 'three', decode(repeat('cd', 32), 'hex'), '2026-02-03 04:00:02+00');
INSERT INTO "user" (id, username, email, ap_id, ap_domain, avatar_id, cover_id) VALUES
    (1, 'ada', 'ada@social.example', NULL, NULL, 2, NULL),
    (2, '@eve@far.example', NULL, 'eve@far.example', NULL, NULL, 2);
INSERT INTO magazine (id, name, ap_id, ap_domain, icon_id, banner_id) VALUES
    (1, 'cats', NULL, NULL, 2, NULL), (2, 'dogs@far.example', 'dogs@far.example', 'far.example', NULL, 2);
INSERT INTO entry (id, user_id, magazine_id, image_id, body, ap_id, created_at) VALUES
    (11, 1, 1, 1, 'said', NULL, '2026-02-03 04:05:06+00');
INSERT INTO entry_comment (id, user_id, entry_id, magazine_id, image_id, body, ap_id, created_at) VALUES
    (21, 2, 11, 1, 1, 'said', 'https://far.example/c/1', '2026-02-03 04:05:07+00');
INSERT INTO post (id, user_id, magazine_id, image_id, body, ap_id, created_at) VALUES
    (31, 2, 2, 1, 'said', 'https://far.example/p/1', '2026-02-03 04:05:08+00');
INSERT INTO post_comment (id, user_id, post_id, magazine_id, image_id, body, ap_id, created_at) VALUES
    (41, 1, 31, 1, 1, 'said', NULL, '2026-02-03 04:05:09+00');
