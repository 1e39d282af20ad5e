// A real OpenID provider (npm oidc-provider) for the tests, on a random loopback port.
//
// It writes one line when it listens, `issuer URL`. The line `rotate` on its standard
// input gives it a new signing key, which it confirms with `rotated KEY-ID`; the key
// before stays published. When its standard input ends, so does it.

import { generateKeyPairSync, randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { createInterface } from 'node:readline';

// Standard output is for the two lines above; the provider's warnings are not.
console.info = console.warn = console.error;
const { Provider } = await import('oidc-provider');

const PEOPLE = {
  ada: {
    email: 'ada@example.com',
    email_verified: true,
    name: 'Ada',
    groups: ['dev', 'oncall'],
  },
  grace: {
    email: 'grace@example.com',
    email_verified: false,
    name: 'Grace',
    groups: ['ops'],
  },
};

// Public, so with PKCE; and native, so redirected to any loopback port (RFC 8252).
const client = (id) => ({
  client_id: id,
  application_type: 'native',
  token_endpoint_auth_method: 'none',
  redirect_uris: ['http://127.0.0.1/callback'],
  grant_types: ['authorization_code'],
  response_types: ['code'],
  require_auth_time: true,
});

const makeKey = () => ({
  ...generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey.export({ format: 'jwk' }),
  kid: randomUUID(),
  alg: 'RS256',
  use: 'sig',
});

const makeProvider = (issuer, keys) =>
  new Provider(issuer, {
    clients: [client('ca-login'), client('another')],
    claims: {
      openid: ['sub'],
      email: ['email', 'email_verified'],
      profile: ['name', 'groups'],
    },
    // What scopes ask for goes into the ID token, as at most providers that people use.
    conformIdTokenClaims: false,
    findAccount: (_, id) =>
      PEOPLE[id] && { accountId: id, claims: () => ({ sub: id, ...PEOPLE[id] }) },
    cookies: { keys: [randomUUID()] },
    jwks: { keys },
    pkce: { required: () => true },
    ttl: { IdToken: 300 },
  });

const server = createServer().listen(0, '127.0.0.1');
await once(server, 'listening');
const issuer = `http://127.0.0.1:${server.address().port}`;

let keys = [];
let provider;
const rotate = () => {
  keys = [makeKey(), ...keys].slice(0, 2);
  provider = makeProvider(issuer, keys);
};
rotate();
server.on('request', (request, response) => provider.callback()(request, response));
console.log(`issuer ${issuer}`);

for await (const line of createInterface({ input: process.stdin })) {
  if (line === 'rotate') {
    rotate();
    console.log(`rotated ${keys[0].kid}`);
  }
}
process.exit();
