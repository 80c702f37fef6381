import { createHmac, randomUUID } from 'node:crypto'
import { createServer, type IncomingMessage } from 'node:http'

export type ForgeName = 'github' | 'gitlab' | 'gitea'

/** A commit status that a forge took. */
export interface TakenStatus {
  repository: string
  commit: string
  state: string
  context: string
  description: string
  link: string
}

export interface PushOf {
  repository: string
  ref: string
  commit: string
  before?: string
}

export interface FakeForge extends AsyncDisposable {
  /** Of its API, as a hook's `status` names it. */
  api: string
  taken: TakenStatus[]
  /** What the forge would have refused, and why. */
  refused: string[]
  /** Sends a push as the forge does; the same `id` is a second try. */
  push(url: string, secret: string, push: PushOf, id?: string): Promise<Response>
}

const COLORS: Record<ForgeName, string[]> = {
  github: ['error', 'failure', 'pending', 'success'],
  gitea: ['error', 'failure', 'pending', 'success', 'warning'],
  gitlab: ['pending', 'running', 'success', 'failed', 'canceled', 'skipped'],
}

/**
 * The part of a forge that we meet, from its public documentation: GitHub's "Commit statuses" (REST, version 2022-11-28) and
 * "Webhook events and payloads", GitLab's "Commits API" and "Webhook events", Gitea's and Forgejo's API of statuses and "Webhooks".
 */
export async function openFakeForge(name: ForgeName, token: string): Promise<FakeForge> {
  const [taken, refused]: [TakenStatus[], string[]] = [[], []]
  const server = createServer(async (request, response) => {
    const [status, answer] = await answerTo(name, token, request, taken)
    if (status >= 400) refused.push(`${request.method} ${request.url}: ${status} ${answer}`)
    response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify({ message: answer }))
  })
  await new Promise<void>(listening => server.listen(0, '127.0.0.1', listening))
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('no port was given')
  const prefix = name === 'gitlab' ? '/api/v4' : name === 'gitea' ? '/api/v1' : ''
  return {
    ...{ api: `http://127.0.0.1:${address.port}${prefix}`, taken, refused },
    push: (url, secret, push, id = randomUUID()) => {
      const body = JSON.stringify(PAYLOADS[name](push))
      const headers = HEADERS[name](body, secret, id, push)
      return fetch(url, { method: 'POST', headers: { 'content-type': 'application/json', ...headers }, body })
    },
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections()
      await new Promise(closed => server.close(closed))
    },
  }
}

const PATHS: Record<ForgeName, RegExp> = {
  github: /^\/repos\/([^/]+\/[^/]+)\/statuses\/([0-9a-f]{40})$/,
  gitea: /^\/api\/v1\/repos\/([^/]+\/[^/]+)\/statuses\/([0-9a-f]{40})$/,
  gitlab: /^\/api\/v4\/projects\/([^/]+)\/statuses\/([0-9a-f]{40})$/,
}

async function answerTo(
  name: ForgeName,
  token: string,
  request: IncomingMessage,
  taken: TakenStatus[],
): Promise<[status: number, message: string]> {
  const [, repository = '', commit = ''] = PATHS[name].exec(request.url ?? '') ?? []
  if (request.method !== 'POST' || commit === '') return [404, 'Not Found']
  const { authorization, 'private-token': privateToken, 'user-agent': agent } = request.headers
  const given = name === 'gitlab' ? privateToken : authorization
  const wanted = { github: `Bearer ${token}`, gitea: `token ${token}`, gitlab: token }[name]
  if (given !== wanted) return [401, 'Bad credentials']
  if (name === 'github' && !agent) return [403, 'Request forbidden by administrative rules: User-Agent']
  if (!request.headers['content-type']?.startsWith('application/json')) return [415, 'Unsupported Media Type']
  const body = JSON.parse(Buffer.concat(await Array.fromAsync(request)).toString())
  const { state, description = '', target_url: link = '' } = body
  const context = (name === 'gitlab' ? (body.name ?? body.context) : body.context) ?? 'default'
  if (!COLORS[name].includes(state)) return [422, `state ${state}`]
  if (description.length > (name === 'gitlab' ? 255 : 140) || !URL.canParse(link))
    return [422, 'description or target_url']
  const of = decodeURIComponent(repository)
  // GitLab keeps a pipeline's states in order, and refuses one that it is in already.
  const last = taken.findLast(status => status.commit === commit && status.context === context)
  if (name === 'gitlab' && last?.state === state) return [400, `Cannot transition status via :run from :${state}`]
  taken.push({ repository: of, commit, state, context, description, link })
  return [201, 'created']
}

const HEADERS: Record<ForgeName, (body: string, secret: string, id: string, push: PushOf) => Record<string, string>> = {
  github: (body, secret, id) => ({
    ...{
      'user-agent': 'GitHub-Hookshot/044aadd',
      'x-github-event': 'push',
      'x-github-delivery': id,
      'x-github-hook-id': '1',
    },
    'x-hub-signature-256': `sha256=${createHmac('sha256', secret).update(body).digest('hex')}`,
  }),
  gitea: (body, secret, id) => {
    const signature = createHmac('sha256', secret).update(body).digest('hex')
    return {
      ...{ 'x-gitea-event': 'push', 'x-gitea-delivery': id, 'x-gitea-signature': signature },
      ...{ 'x-github-event': 'push', 'x-github-delivery': id, 'x-hub-signature-256': `sha256=${signature}` },
    }
  },
  gitlab: (_, secret, id, { ref }) => ({
    ...{ 'user-agent': 'GitLab/17.5.0', 'x-gitlab-token': secret, 'x-gitlab-event-uuid': id, 'idempotency-key': id },
    'x-gitlab-event': ref.startsWith('refs/tags/') ? 'Tag Push Hook' : 'Push Hook',
  }),
}

const NONE = '0'.repeat(40)
const PAYLOADS: Record<ForgeName, (push: PushOf) => object> = {
  github: ({ repository, ref, commit, before = NONE }) => ({
    ...{ ref, before, after: commit, created: before === NONE, deleted: false, forced: false, base_ref: null },
    ...{
      compare: `https://github.com/${repository}/compare/x`,
      pusher: { name: 'a', email: 'a@b' },
      sent: randomUUID(),
    },
    ...{ commits: [commitOf(commit)], head_commit: commitOf(commit) },
    repository: { id: 1, name: repository.split('/').at(-1), full_name: repository, private: true },
  }),
  gitea: ({ repository, ref, commit, before = NONE }) => ({
    ...{ ref, before, after: commit, compare_url: '', total_commits: 1, sent: randomUUID() },
    ...{ commits: [commitOf(commit)], head_commit: commitOf(commit) },
    repository: { id: 140, name: repository.split('/').at(-1), full_name: repository, private: true },
  }),
  gitlab: ({ repository, ref, commit, before = NONE }) => ({
    ...{
      object_kind: ref.startsWith('refs/tags/') ? 'tag_push' : 'push',
      before,
      after: commit,
      ref,
      sent: randomUUID(),
    },
    ...{ checkout_sha: commit, project_id: 15, total_commits_count: 1, commits: [commitOf(commit)] },
    project: { id: 15, path_with_namespace: repository, default_branch: 'main' },
  }),
}

function commitOf(id: string) {
  return {
    id,
    message: 'a change',
    timestamp: '2020-02-02T02:02:02Z',
    added: [],
    removed: [],
    modified: ['Dockerfile'],
  }
}
