// Sends a picture by megalodon: URL, token, file. Prints what came of it.
const { createReadStream } = require('node:fs');
const megalodon = require('megalodon');

const [url, token, path] = process.argv.slice(2);
const generator = megalodon.default.default ?? megalodon.default;
generator('mastodon', url, token)
  .uploadMedia(createReadStream(path))
  .then(
    (sent) => ({ id: sent.data.id }),
    (error) => ({ error: error.name, message: error.response ? error.response.data.error : error.message }),
  )
  .then((said) => console.log(JSON.stringify(said)));
