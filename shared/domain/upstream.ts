import { z } from 'zod'
import { SlipwayError } from '../errors.ts'

/** One server of a registry. Credentials go to it, and to the token server that it names, and to nobody else. */
export interface Endpoint {
  /** Origin and path below which `/v2/` is, without a slash at the end. */
  url: string
  username?: string | undefined
  password?: string | undefined
}

/** A registry whose images may be pulled through: its mirrors in order, the registry itself last. */
export interface Upstream {
  /** As references name it: `docker.io`, `registry.example.com:5000`. */
  registry: string
  endpoints: Endpoint[]
  /** For how long a tag is believed before it is looked up again. */
  tagTtlMs: number
}

const TAG_TTL_S = 600

/** Where the well-known registries are, when their name is not their address. */
const ADDRESSES: Record<string, string> = { 'docker.io': 'https://registry-1.docker.io' }

/** Pulled through when nothing is configured, without credentials. */
export const WELL_KNOWN = [
  ...['docker.io', 'ghcr.io', 'quay.io', 'registry.k8s.io', 'gcr.io', 'mcr.microsoft.com', 'public.ecr.aws'],
] as const

/** Credentials and queries in an address would end in logs; they have fields of their own. */
const addressSchema = z
  .url({ protocol: /^https?$/ })
  .refine(text => URL.canParse(text) && isPlain(new URL(text)), 'an address has no credentials, query or fragment')
  .transform(text => text.replace(/\/+$/, ''))
const isPlain = (url: URL) => url.username === '' && url.password === '' && url.search === '' && url.hash === ''

const endpointSchema = z.union([
  addressSchema.transform((url): Endpoint => ({ url })),
  z.strictObject({ url: addressSchema, username: z.string().min(1), password: z.string().min(1) }),
])

const upstreamSchema = z
  .strictObject({
    registry: z
      .string()
      .regex(/^(?=.*[.:]|localhost$)[a-z0-9]+(?:[.-][a-z0-9]+)*(?::\d{1,5})?$/, 'a host, with a port if need be'),
    endpoints: z.array(endpointSchema).min(1).max(10).optional(),
    username: z.string().min(1).optional(),
    password: z.string().min(1).optional(),
    /** Seconds. */
    tagTtl: z.int().min(0).max(2_592_000).default(TAG_TTL_S),
  })
  .refine(({ username, password }) => (username === undefined) === (password === undefined), {
    message: 'username and password go together',
  })
  .transform(({ registry, endpoints, username, password, tagTtl }): Upstream => {
    const all = endpoints ?? [{ url: ADDRESSES[registry] ?? `https://${registry}` }]
    // The last one is the registry itself; a mirror is another party, and gets no credentials but its own.
    const own = all.map((endpoint, at) =>
      at === all.length - 1 && username ? { ...endpoint, username, password } : endpoint,
    )
    return { registry, endpoints: own, tagTtlMs: tagTtl * 1000 }
  })

export const upstreamsSchema = z
  .array(upstreamSchema)
  .max(100)
  .refine(all => new Set(all.map(({ registry }) => registry)).size === all.length, 'a registry is named twice')

export function defaultUpstreams(): Upstream[] {
  return upstreamsSchema.parse(WELL_KNOWN.map(registry => ({ registry })))
}

/** Reads the configuration. Errors: `upstream.config-invalid`, which names the field and never shows a value. */
export function readUpstreams(text: string): Upstream[] {
  const read = upstreamsSchema.safeParse(parseJson(text))
  if (read.success) return read.data
  const [issue] = read.error.issues
  throw invalid(`${issue?.path.join('.') || 'the list'}: ${issue?.message}`)
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    // Not even as a cause: the parser's sentence quotes what is around the fault, which may be a password.
    throw invalid('it is no JSON')
  }
}

function invalid(why: string): SlipwayError {
  return new SlipwayError('upstream.config-invalid', `The list of upstream registries cannot be taken: ${why}.`)
}

/** A repository of an upstream: `docker.io/library/debian` is `library/debian` at `docker.io`. */
export interface Mirrored {
  registry: string
  /** As the upstream calls it. */
  remote: string
}

/** Names that Docker gives its Hub. */
const HUB_NAMES = ['index.docker.io', 'registry-1.docker.io']
export const HUB = 'docker.io'

/** The registry that a repository's name begins with, as Docker reads it; undefined for a name without a host. Pure. */
export function mirroredName(repository: string): Mirrored | undefined {
  const slash = repository.indexOf('/')
  const host = repository.slice(0, Math.max(0, slash))
  if (!/[.:]/.test(host) && host !== 'localhost') return undefined
  const remote = repository.slice(slash + 1)
  const registry = HUB_NAMES.includes(host.toLowerCase()) ? HUB : host.toLowerCase()
  return { registry, remote: registry === HUB ? hubName(remote) : remote }
}

/** Docker's own images are in `library/`, which people leave out. */
export function hubName(name: string): string {
  return name.includes('/') ? name : `library/${name}`
}
