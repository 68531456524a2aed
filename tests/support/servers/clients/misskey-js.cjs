// Sends a picture by misskey-js: URL, token, file. Prints what came of it. Its code is for `import` alone.
const { readFileSync } = require('node:fs');
const { join } = require('node:path');
const { pathToFileURL } = require('node:url');

const [origin, credential, path] = process.argv.slice(2);
(async () => {
  const entry = join(process.env.MODULES, 'misskey-js', 'built', 'index.js');
  const { api } = await import(pathToFileURL(entry));
  try {
    const file = new File([readFileSync(path)], 'picture');
    const sent = await new api.APIClient({ origin, credential }).request('drive/files/create', { file });
    console.log(JSON.stringify({ id: sent.id }));
  } catch (error) {
    if (!api.isAPIError(error)) throw error;
    console.log(JSON.stringify({ error: error.code, message: error.message }));
  }
})();
