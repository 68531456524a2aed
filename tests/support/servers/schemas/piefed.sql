-- Re-expressed from what is known of a copy of PieFed's app/models.py; not its own migrations.
CREATE TABLE file (
    id serial PRIMARY KEY, file_path varchar(255), file_name varchar(255), alt_text varchar(1500), source_url varchar(1024),
    thumbnail_path varchar(255), hash bit(256));
CREATE TABLE "user" (
    id serial PRIMARY KEY, user_name varchar(255), email varchar(255), password_hash varchar(128), private_key text,
    ip_address varchar(50), about text, ap_id varchar(255), ap_domain varchar(255), avatar_id int, cover_id int);
CREATE TABLE community (
    id serial PRIMARY KEY, name varchar(256), description text, private_key text, ap_id varchar(255), ap_domain varchar(255),
    icon_id int, image_id int);
CREATE TABLE post (
    id serial PRIMARY KEY, user_id int, community_id int, image_id int, title varchar(255), body text, ip varchar(50),
    ap_id varchar(255), posted_at timestamp);
CREATE INDEX ON post (image_id);
CREATE TABLE post_reply (
    id serial PRIMARY KEY, user_id int, post_id int, image_id int, body text, ip varchar(50), ap_id varchar(255),
    posted_at timestamp);
CREATE INDEX ON post_reply (image_id);
CREATE TABLE post_file (post_id int, file_id int, weight int, PRIMARY KEY (post_id, file_id));
CREATE TABLE user_file (user_id int, file_id int, size int, PRIMARY KEY (user_id, file_id));

INSERT INTO file (id, file_path, thumbnail_path, source_url) VALUES
    (1, 'app/static/media/posts/aB/3d/aB3dEfGhIjKlMnO.jpg', 'app/static/media/posts/aB/3d/aB3dThumbnailMnO.webp', NULL),
    (2, 'https://cdn.example/users/xY/z0/xYz0EfGhIjKlMnO.webp', NULL, NULL),
    (3, NULL, NULL, 'https://social.example/static/media/posts/cD/5f/cD5fEfGhIjKlMnO.png'),
    (4, 'app/static/media/communities/eF/6g/eF6gEfGhIjKlMnO.png', NULL, NULL);
INSERT INTO "user" (id, user_name, email, ap_id, ap_domain, avatar_id, cover_id) VALUES
    (1, 'ada', 'ada@social.example', NULL, NULL, NULL, NULL), (2, 'eve', NULL, 'eve@far.example', 'far.example', 2, 2);
INSERT INTO community (id, name, ap_id, ap_domain, icon_id, image_id) VALUES
    (1, 'cats', NULL, NULL, 4, NULL), (2, 'dogs', 'dogs@far.example', 'far.example', NULL, 4);
INSERT INTO post (id, user_id, image_id, body, ap_id, posted_at) VALUES
    (11, 1, 1, 'said', 'https://social.example/post/11', '2026-02-03 04:05:06'),
    (12, 2, NULL, 'said', 'https://far.example/post/1', '2026-02-03 04:05:07');
INSERT INTO post_file VALUES (11, 1, 0), (12, 1, 1);
INSERT INTO post_reply (id, user_id, image_id, posted_at) VALUES (21, 1, 1, '2026-02-03 04:05:08');
INSERT INTO user_file VALUES (1, 3, 100);
