import { execFileSync, spawn } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

export interface GitServer extends AsyncDisposable {
  url: string
  port: number
  /** Makes `NAME.git`, or goes on in it: `script` (bash) runs in its working tree and commits by itself. Returns the last commit's id. */
  repository(name: string, script: string): string
  /** From now on a user and password are asked for. */
  protect(user: string, password: string): void
  /** Asked paths, with the `Authorization` that came along. */
  requests: { path: string; authorization: string | undefined }[]
}

const AUTHOR = { GIT_AUTHOR_NAME: 'a', GIT_AUTHOR_EMAIL: 'a@b', GIT_COMMITTER_NAME: 'a', GIT_COMMITTER_EMAIL: 'a@b' }
const DATES = { GIT_AUTHOR_DATE: '2020-02-02T02:02:02Z', GIT_COMMITTER_DATE: '2020-02-02T02:02:02Z' }
const PLAIN = { GIT_CONFIG_NOSYSTEM: '1', GIT_CONFIG_GLOBAL: '/dev/null' }

/** Git's own smart HTTP server (git-http-backend(1)) on the loopback. `config`: what its repositories are told, as `git config`. */
export async function openGitServer(config: Record<string, string> = {}): Promise<GitServer> {
  await using undo = new AsyncDisposableStack()
  const root = mkdtempSync(join(tmpdir(), 'slipway-git-server-'))
  undo.defer(() => rmSync(root, { recursive: true, force: true }))
  let wanted: string | undefined
  const requests: GitServer['requests'] = []
  const server = createServer((request, response) => {
    const { authorization } = request.headers
    requests.push({ path: request.url ?? '', authorization })
    if (wanted === undefined || authorization === wanted) return backend(join(root, 'bare'), request, response)
    response.writeHead(401, { 'www-authenticate': 'Basic realm="git"' }).end()
  })
  await new Promise<void>(listening => server.listen(0, '127.0.0.1', listening))
  undo.defer(async () => {
    server.closeAllConnections()
    await new Promise(closed => server.close(closed))
  })
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('no port was given')
  const opened = undo.move()
  return {
    ...{ url: `http://127.0.0.1:${address.port}`, port: address.port, requests },
    repository: (name, script) => commitAll(root, name, script, config),
    protect: (user, password) => {
      wanted = `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}`
    },
    [Symbol.asyncDispose]: () => opened.disposeAsync(),
  }
}

/** Makes or goes on with a repository below a folder: its working tree in `trees`, what is served in `bare`. */
export function commitAll(root: string, name: string, script: string, config: Record<string, string> = {}): string {
  const [tree, bare] = [join(root, 'trees', name), join(root, 'bare', `${name}.git`)]
  const env = { ...process.env, ...AUTHOR, ...DATES, ...PLAIN }
  const run = (cwd: string, program: string, ...args: string[]) =>
    execFileSync(program, args, { cwd, env, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] }).trim()
  mkdirSync(tree, { recursive: true })
  mkdirSync(bare, { recursive: true })
  run(tree, 'git', 'init', '--quiet', '--initial-branch=main')
  run(bare, 'git', 'init', '--quiet', '--bare', '--initial-branch=main')
  for (const [key, value] of Object.entries(config)) run(bare, 'git', 'config', key, value)
  run(tree, 'bash', '-ec', script)
  run(tree, 'git', 'push', '--quiet', '--force', '--all', bare)
  run(tree, 'git', 'push', '--quiet', '--force', '--tags', bare)
  return run(tree, 'git', 'rev-parse', 'HEAD')
}

/** The Common Gateway Interface (RFC 3875), as far as git asks for it. */
function backend(folder: string, request: IncomingMessage, response: ServerResponse): void {
  const { pathname, search } = new URL(request.url ?? '/', 'http://git')
  const header = (name: string) => String(request.headers[name] ?? '')
  const env = {
    ...{ PATH: process.env.PATH, ...PLAIN, GIT_PROJECT_ROOT: folder, GIT_HTTP_EXPORT_ALL: '1' },
    ...{ REQUEST_METHOD: request.method, PATH_INFO: decodeURIComponent(pathname), QUERY_STRING: search.slice(1) },
    ...{ CONTENT_TYPE: header('content-type'), HTTP_CONTENT_ENCODING: header('content-encoding') },
    ...{ HTTP_GIT_PROTOCOL: header('git-protocol'), REMOTE_ADDR: '127.0.0.1' },
  }
  const child = spawn('git', ['http-backend'], { env, stdio: ['pipe', 'pipe', 'ignore'] })
  request.pipe(child.stdin)
  child.stdin.on('error', () => {})
  const chunks: Buffer[] = []
  child.stdout.on('data', (chunk: Buffer) => chunks.push(chunk))
  child.on('close', () => {
    const said = Buffer.concat(chunks)
    const end = said.indexOf('\r\n\r\n')
    const headers = said.subarray(0, Math.max(end, 0)).toString().split('\r\n').filter(Boolean)
    const pairs = headers.map(
      line => [line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 1).trim()] as const,
    )
    const status = Number(pairs.find(([name]) => name === 'Status')?.[1]?.slice(0, 3) ?? 200)
    response.writeHead(status, Object.fromEntries(pairs.filter(([name]) => name !== 'Status')))
    response.end(said.subarray(end + 4))
  })
}
