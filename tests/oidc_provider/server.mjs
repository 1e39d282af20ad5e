// A real OpenID provider (npm oidc-provider) for the tests, on a loopback port: the one
// in its first argument, or a random one.
//
// It writes one line when it listens, `issuer URL`. The line `rotate` on its standard
// input gives it a new signing key, which it confirms with `rotated KEY-ID`; the key
// before stays published. `asked PATH` is answered with `asked N`: how often somebody
// asked for that path. When its standard input ends, so does it.

import { generateKeyPairSync, randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { createInterface } from 'node:readline';

// Standard output is for the two lines above; the provider's warnings are not.
console.info = console.warn = console.error;
const { Provider } = await import('oidc-provider');
const { createMemoryAdapter } = await import(
  'oidc-provider/lib/adapters/memory_adapter.js'
);

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

// For sign-ins by code alone (RFC 8628).
const deviceClient = (id) => ({
  client_id: id,
  application_type: 'native',
  token_endpoint_auth_method: 'none',
  redirect_uris: [],
  grant_types: ['urn:ietf:params:oauth:grant-type:device_code'],
  response_types: [],
  require_auth_time: true,
});

const NONCE_CLIENT = 'ca-login-device';

// Of all providers that follow one another here: a sign-in that is under way outlives a
// rotation of the signing keys, as it does elsewhere.
const COOKIE_KEYS = [randomUUID()];
const STORE = createMemoryAdapter();

const makeKey = () => ({
  ...generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey.export({ format: 'jwk' }),
  kid: randomUUID(),
  alg: 'RS256',
  use: 'sig',
});

const makeProvider = (issuer, keys) => {
  const made = new Provider(issuer, {
    clients: [
      client('ca-login'),
      client('another'),
      deviceClient(NONCE_CLIENT),
      deviceClient('ca-login-device-unbound'),
    ],
    features: { deviceFlow: { enabled: true } },
    // The last thing that is asked before a code that somebody typed in is saved. By
    // itself this provider forgets the nonce there; Keycloak and others do not.
    expiresWithSession: (ctx, code) => {
      if (code.clientId === NONCE_CLIENT && code.kind === 'DeviceCode') {
        code.nonce = ctx.oidc.params.nonce;
      }
      return true;
    },
    claims: {
      openid: ['sub'],
      email: ['email', 'email_verified'],
      profile: ['name', 'groups'],
    },
    // What scopes ask for goes into the ID token, as at most providers that people use.
    conformIdTokenClaims: false,
    findAccount: (_, id) =>
      PEOPLE[id] && { accountId: id, claims: () => ({ sub: id, ...PEOPLE[id] }) },
    adapter: STORE,
    cookies: { keys: COOKIE_KEYS },
    jwks: { keys },
    pkce: { required: () => true },
    ttl: { IdToken: 300 },
  });
  made.use(async (ctx, next) => {
    await next();
    if (ctx.oidc?.route === 'device_authorization') ctx.body.interval = 1;
  });
  return made;
};

const server = createServer().listen(Number(process.argv[2] ?? 0), '127.0.0.1');
await once(server, 'listening');
const issuer = `http://127.0.0.1:${server.address().port}`;

let keys = [];
let provider;
const rotate = () => {
  keys = [makeKey(), ...keys].slice(0, 2);
  provider = makeProvider(issuer, keys);
};
rotate();
const asked = new Map();
server.on('request', (request, response) => {
  asked.set(request.url, (asked.get(request.url) ?? 0) + 1);
  provider.callback()(request, response);
});
console.log(`issuer ${issuer}`);

for await (const line of createInterface({ input: process.stdin })) {
  if (line === 'rotate') {
    rotate();
    console.log(`rotated ${keys[0].kid}`);
  } else if (line.startsWith('asked ')) {
    console.log(`asked ${asked.get(line.slice(6)) ?? 0}`);
  }
}
process.exit();
