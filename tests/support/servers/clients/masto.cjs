// Sends a picture by masto: URL, token, file. Prints what came of it.
const { readFileSync } = require('node:fs');
const { createRestAPIClient } = require('masto');

const [url, accessToken, path] = process.argv.slice(2);
const file = new Blob([readFileSync(path)]);
createRestAPIClient({ url, accessToken })
  .v2.media.create({ file })
  .then(
    (sent) => ({ id: sent.id }),
    (error) => ({ error: error.name, message: error.message }),
  )
  .then((said) => console.log(JSON.stringify(said)));
