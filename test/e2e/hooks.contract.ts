import { createHash, createHmac, randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:http'
import { connect } from 'node:net'
import { setTimeout as pause } from 'node:timers/promises'
import { gzipSync } from 'node:zlib'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { ApiError } from '#infra/local/api-client.ts'
import { waitUntil } from '#infra/local/processes.ts'
import { codeOf } from '#test/support/api.ts'
import { type FakeForge, type ForgeName, openFakeForge } from '#test/support/fake-forge.ts'
import { type GitServer, openGitServer } from '#test/support/git-server.ts'
import type { TestSlipway } from '#test/support/slipway.ts'
import { runScript } from './api.contract.ts'

interface Build {
  id: string
  state: string
  commit?: string
  tags: string[]
  imageDigest?: string
  error?: { code: string; message: string }
}

interface Site {
  id: string
  address: string
  host: { id: string }
  state: string
  startedAt?: string
}

const PASSWORD = 'git-password-of-the-test'
const FORGE_TOKEN = 'forge-token-of-the-test'
const WAIT_MS = 90_000
const MIB = 1024 ** 2
const TOO_LARGE_BYTES = 26 * MIB

/** Sources from elsewhere and webhooks, on Node and on workerd alike. `get` gives a Slipway that has the image `busybox`. */
export function describeHooks(get: () => TestSlipway): void {
  const call = <T>(method: string, path: string, body?: unknown) => get().api.call<T>(method, path, body)
  const ended = async (id: string) => {
    const build = () => call<Build>('GET', `/v1/builds/${id}`)
    await waitUntil(async () => !['queued', 'running'].includes((await build()).state), WAIT_MS)
    return build()
  }
  const logOfBuild = async (id: string) => {
    let text = ''
    for await (const piece of get().api.text(`/v1/builds/${id}/logs`)) text += piece
    return text
  }
  const build = async (asked: object) => {
    const { id } = await call<Build>('POST', '/v1/builds?wait=finished&timeout=120', asked)
    return ended(id)
  }
  const logOf = async (container: string) => {
    let text = ''
    for await (const piece of get().api.text(`/v1/containers/${container}/logs`)) text += piece
    return text
  }
  let server: GitServer

  beforeAll(async () => {
    server = await openGitServer()
    server.protect('me', PASSWORD)
    await call('PUT', '/v1/secrets/git', { value: `me:${PASSWORD}` })
    await call('PUT', '/v1/secrets/forge', { value: FORGE_TOKEN })
  })
  afterAll(() => server?.[Symbol.asyncDispose]())

  describe('a source', () => {
    test('that is a repository: its branch, subfolder and submodules, with a secret that nobody sees', async () => {
      const lib = server.repository('team/lib', 'printf lib >lib; git add .; git commit -qm 1')
      const commit = server.repository(
        'team/app',
        `mkdir app; printf 'FROM busybox\\nCOPY . /files\\n' >app/Dockerfile; printf page >app/page
         git config -f .gitmodules submodule.lib.path app/lib; git config -f .gitmodules submodule.lib.url ../lib.git
         git add .; git update-index --add --cacheinfo 160000,${lib},app/lib; git commit -qm 1; git checkout -qb other`,
      )
      const git = { url: `${server.url}/team/app.git`, ref: 'other', subfolder: 'app', submodules: true, secret: 'git' }
      const made = await build({ git, tags: ['from-git:1'] })
      expect(made, made.error?.message).toMatchObject({ state: 'succeeded', commit, git })
      const { output } = await runScript(get().api, 'cd /files; cat page lib/lib; find . -name .git', {
        image: 'from-git:1',
      })
      expect(output).toBe('pagelib')
      const log = await logOfBuild(made.id)
      expect(log).toContain(commit)
      expect(log).not.toContain(PASSWORD)
    })

    test('that is a repository that is not there, or with a secret that is wrong, says so', async () => {
      const none = await build({ git: { url: `${server.url}/none.git`, secret: 'git' }, tags: ['none:1'] })
      expect(none).toMatchObject({ state: 'failed', error: { code: 'source.fetch-failed' } })
      await call('PUT', '/v1/secrets/wrong', { value: 'me:wrong-password' })
      const denied = await build({ git: { url: `${server.url}/team/app.git`, secret: 'wrong' }, tags: ['none:1'] })
      expect(denied).toMatchObject({ state: 'failed', error: { code: 'source.fetch-failed' } })
      expect(JSON.stringify(denied) + (await logOfBuild(denied.id))).not.toContain('wrong-password')
      const git = { url: `${server.url}/team/app.git`, secret: 'unknown' }
      expect(await codeOf(call('POST', '/v1/builds', { git, tags: ['none:1'] }))).toBe('secret.not-found')
      expect(await codeOf(call('POST', '/v1/builds', { git, context: 'x', tags: ['none:1'] }))).toBe('request.invalid')
    })

    test('that is a tar behind a URL, verified where its digest is named', async () => {
      const tar = gzipSync(tarOf({ Dockerfile: 'FROM busybox\nCOPY page /page\n', page: 'by URL' }))
      const sha256 = createHash('sha256').update(tar).digest('hex')
      const files = createServer((request, response) => {
        if (request.url === '/moved.tgz') response.writeHead(302, { location: '/context.tgz' }).end()
        else response.writeHead(request.url === '/context.tgz' ? 200 : 404).end(tar)
      })
      await new Promise<void>(listening => files.listen(0, '127.0.0.1', listening))
      try {
        const address = files.address()
        const at = `http://127.0.0.1:${address && typeof address === 'object' ? address.port : 0}`
        const made = await build({ url: { url: `${at}/moved.tgz`, sha256 }, tags: ['from-url:1'] })
        expect(made, made.error?.message).toMatchObject({ state: 'succeeded' })
        const { output } = await runScript(get().api, 'cat /page', { image: 'from-url:1' })
        expect(output).toBe('by URL')
        const other = await build({ url: { url: `${at}/context.tgz`, sha256: '0'.repeat(64) }, tags: ['from-url:2'] })
        expect(other).toMatchObject({ state: 'failed', error: { code: 'source.digest-mismatch' } })
        const none = await build({ url: { url: `${at}/none` }, tags: ['from-url:2'] })
        expect(none).toMatchObject({ state: 'failed', error: { code: 'source.fetch-failed' } })
      } finally {
        files.closeAllConnections()
        await new Promise(closed => files.close(closed))
      }
    })
  })

  describe.each<ForgeName>(['github', 'gitlab', 'gitea'])('a push of %s', name => {
    let forge: FakeForge
    let hook: { id: string; url: string; secret: string }
    const repository = `${name}/sub/app`
      .split('/')
      .slice(name === 'gitlab' ? 0 : 1)
      .join('/')
    const isTold = (commit: string, state: string) =>
      waitUntil(async () => forge.taken.some(status => status.commit === commit && status.state === state), WAIT_MS)
    const statesOf = (commit: string) =>
      forge.taken.filter(status => status.commit === commit).map(({ state }) => state)

    beforeAll(async () => {
      forge = await openFakeForge(name, FORGE_TOKEN)
      hook = await call('POST', '/v1/hooks', {
        ...{ name, kind: name, git: { url: `${server.url}/${repository}.git`, secret: 'git' } },
        ...{ on: { branches: ['**', '!wip/**'], tags: ['v*'] } },
        build: { tags: [`${name}:{branch}`, `${name}:{tag}`, `${name}:{short}`] },
        status: { secret: 'forge', api: forge.api },
      })
    })
    afterAll(async () => {
      await call('DELETE', `/v1/hooks/${hook.id}`)
      await forge[Symbol.asyncDispose]()
    })
    const push = async (ref: string, commit: string, id?: string) => {
      const response = await forge.push(hook.url, hook.secret, { repository, ref, commit }, id)
      return {
        status: response.status,
        ...((await response.json()) as { result: string; build: string; reason?: string }),
      }
    }

    test('is built at its commit, and the forge sees it begin and end', async () => {
      const commit = server.repository(
        repository,
        "printf 'FROM busybox\\nRUN true\\n' >Dockerfile; git add .; git commit -qm 1",
      )
      const answer = await push('refs/heads/feature/one', commit, 'delivery-1')
      expect(answer).toMatchObject({ status: 202, result: 'building' })
      const again = await push('refs/heads/feature/one', commit, 'delivery-1')
      expect(again).toMatchObject({ status: 200, build: answer.build, isRepeat: true })
      const made = await ended(answer.build)
      expect(made, made.error?.message).toMatchObject({ state: 'succeeded', commit })
      expect(made.tags.map(tag => tag.split(':')[1])).toEqual(['feature-one', commit.slice(0, 12)])
      expect(await isTold(commit, 'success')).toBe(true)
      expect(statesOf(commit).at(0)).toBe('pending')
      expect(forge.taken[0]).toMatchObject({ repository, context: `slipway/${name}` })
      expect(forge.taken[0]?.link).toContain(answer.build)
      expect(forge.refused).toEqual([])
    })

    test('that breaks the build is told as a failure; one of a branch left out is ignored, and so is a stranger', async () => {
      const commit = server.repository(
        repository,
        "printf 'FROM busybox\\nRUN false\\n' >Dockerfile; git commit -qam 2",
      )
      expect(await push('refs/heads/wip/x', commit)).toMatchObject({ status: 200, result: 'ignored' })
      const { build: id } = await push('refs/tags/v1', commit)
      expect(await ended(id)).toMatchObject({ state: 'failed' })
      expect(await isTold(commit, name === 'gitlab' ? 'failed' : 'failure')).toBe(true)
      const stranger = await forge.push(hook.url, 'another secret', { repository, ref: 'refs/heads/main', commit })
      expect([stranger.status, ((await stranger.json()) as { code: string }).code]).toEqual([
        401,
        'hook.signature-invalid',
      ])
    })

    test('makes the build of the push before it stale', async () => {
      const slow = server.repository(
        repository,
        "printf 'FROM busybox\\nRUN echo begun; sleep 100\\n' >Dockerfile; git commit -qam 3",
      )
      const first = await push('refs/heads/main', slow)
      expect(await waitUntil(async () => (await logOfBuild(first.build)).includes('begun'), WAIT_MS)).toBe(true)
      const commit = server.repository(repository, "printf 'FROM busybox\\n' >Dockerfile; git commit -qam 4")
      const second = await push('refs/heads/main', commit)
      expect(await ended(first.build)).toMatchObject({ state: 'canceled' })
      expect(await ended(second.build)).toMatchObject({ state: 'succeeded', commit })
      expect(await isTold(slow, name === 'gitlab' ? 'canceled' : 'error')).toBe(true)
      expect(await isTold(commit, 'success')).toBe(true)
      expect(forge.refused).toEqual([])
    })
  })

  test('whatever signs as we say can ask for a build, with secrets by their names', async () => {
    const commit = server.repository(
      'signed',
      `printf 'FROM busybox\\nRUN --mount=type=secret,id=word grep -q me: /run/secrets/word\\n' >Dockerfile; git add .; git commit -qm 1`,
    )
    const hook = await call<{ id: string; url: string }>('POST', '/v1/hooks', {
      ...{
        name: 'signed',
        kind: 'signed',
        secret: 'a-secret-of-sixteen',
        git: { url: `${server.url}/signed.git`, secret: 'git' },
      },
      build: { tags: ['signed:{branch}'], secrets: { word: { secret: 'git' } } },
    })
    const body = JSON.stringify({ ref: 'refs/heads/main', commit })
    const at = Math.floor(Date.now() / 1000)
    const signature = createHmac('sha256', 'a-secret-of-sixteen').update(`d1.${at}.${body}`).digest('hex')
    const headers = {
      'x-slipway-delivery': 'd1',
      'x-slipway-timestamp': `${at}`,
      'x-slipway-signature': `sha256=${signature}`,
    }
    const response = await fetch(hook.url, { method: 'POST', headers, body })
    const answer = (await response.json()) as { build: string }
    expect(await ended(answer.build)).toMatchObject({ state: 'succeeded', commit })
    const paths = Array.from({ length: 30_000 }, (_, at) => `a/path/of/some/length/${'x'.repeat(60)}/${at}`)
    const older = { ref: 'refs/heads/main', before: 'a'.repeat(40), commit: 'b'.repeat(40), paths }
    const newer = { ref: 'refs/heads/main', before: 'b'.repeat(40), commit, paths }
    expect(await deliverSigned(hook.url, 'a-secret-of-sixteen', newer)).toMatchObject({ result: 'building' })
    expect(await deliverSigned(hook.url, 'a-secret-of-sixteen', older)).toMatchObject({ result: 'ignored' })
    const large = { method: 'POST', headers, body: new Uint8Array(TOO_LARGE_BYTES) }
    expect((await fetch(hook.url, large)).status).toBe(413)
    expect(await answerAfterAll(hook.url, TOO_LARGE_BYTES)).toMatch(/^HTTP\/1.1 413 /)
    await call('DELETE', `/v1/hooks/${hook.id}`)
    expect((await fetch(hook.url, { method: 'POST', headers, body })).status).toBe(404)
  })

  test('a push updates the container that its hook names, in place', async () => {
    const pageOf = (text: string) =>
      `printf 'FROM busybox\\nSTOPSIGNAL SIGKILL\\nCOPY page /page\\nCMD ["sh", "-c", "cat /page; touch /mark; exec sleep 1000"]\\n' >Dockerfile
       printf '${text}\\n' >page; git add .; git commit -qm ${text}`
    const secret = 'a-secret-of-sixteen'
    const hook = await call<{ id: string; url: string }>('POST', '/v1/hooks', {
      ...{ name: 'updating', kind: 'signed', secret, git: { url: `${server.url}/site.git`, secret: 'git' } },
      build: { tags: ['site:{branch}'], update: ['site', 'gone'] },
    })
    const first = server.repository('site', pageOf('first'))
    const git = { url: `${server.url}/site.git`, ref: first, secret: 'git' }
    expect(await build({ git, tags: ['site:main'] })).toMatchObject({ state: 'succeeded' })
    const before = await call<Site>('POST', '/v1/containers?wait=running', {
      ...{ image: 'site:main', name: 'site', restart: 'unless-stopped' },
    })
    const commit = server.repository('site', pageOf('second'))
    const answer = await deliverSigned(hook.url, secret, { ref: 'refs/heads/main', commit })
    const made = await ended(answer.build)
    expect(made).toMatchObject({ state: 'succeeded', commit, updates: [{ container: 'site' }, { container: 'gone' }] })
    const site = () => call<Site>('GET', '/v1/containers/site')
    const isUpdated = async () => {
      const { state, startedAt } = await site()
      return state === 'running' && startedAt !== before.startedAt
    }
    expect(await waitUntil(isUpdated, WAIT_MS)).toBe(true)
    const { id, address, host } = before
    expect(await site()).toMatchObject({ id, address, host, revision: 1, imageDigest: made.imageDigest })
    expect(await waitUntil(async () => (await logOf('site')).includes('second'), WAIT_MS)).toBe(true)
    expect(await logOf('site')).toContain('first')
    await call('DELETE', '/v1/containers/site?force=true&wait=removed')
    await call('DELETE', `/v1/hooks/${hook.id}`)
  })

  test('a host gets the secrets of its own builds alone, and a stranger none', async () => {
    const attempt = call('GET', `/v1/agent/builds/${'a'.repeat(16)}/secrets`)
    await expect(attempt).rejects.toBeInstanceOf(ApiError)
    expect(await codeOf(call('GET', `/v1/agent/builds/${'a'.repeat(16)}/secrets`))).toBe('auth.forbidden')
  })
}

/** As docs/webhooks.md says how. */
async function deliverSigned(url: string, secret: string, push: object): Promise<{ build: string }> {
  const body = JSON.stringify(push)
  const [id, at] = [randomUUID(), Math.floor(Date.now() / 1000)]
  const signature = createHmac('sha256', secret).update(`${id}.${at}.${body}`).digest('hex')
  const headers = {
    ...{ 'x-slipway-delivery': id, 'x-slipway-timestamp': `${at}`, 'x-slipway-signature': `sha256=${signature}` },
  }
  return (await (await fetch(url, { method: 'POST', headers, body })).json()) as { build: string }
}

/** As clients do that write all before they read a word. */
async function answerAfterAll(url: string, bytes: number): Promise<string> {
  const { hostname, port, pathname } = new URL(url)
  const socket = connect(Number(port), hostname)
  socket.on('error', () => {}) // A write tells it.
  const write = (piece: Uint8Array | string) =>
    new Promise<void>((resolve, reject) => socket.write(piece, error => (error ? reject(error) : resolve())))
  try {
    await write(`POST ${pathname} HTTP/1.1\r\nhost: ${hostname}:${port}\r\ncontent-length: ${bytes}\r\n\r\n`)
    for (let sent = 0; sent < bytes; sent += MIB) {
      await write(new Uint8Array(Math.min(MIB, bytes - sent)))
      await pause(40)
    }
    const [answer] = await once(socket, 'data', { signal: AbortSignal.timeout(WAIT_MS) })
    return String(answer)
  } finally {
    socket.destroy()
  }
}

/** A tar of small files (POSIX.1-1988, ustar). */
function tarOf(files: Record<string, string>): Buffer {
  const blocks = Object.entries(files).flatMap(([name, text]) => {
    const header = Buffer.alloc(512)
    header.write(name, 0)
    header.write('0000644\x000000000\x000000000\0', 100)
    header.write(`${Buffer.byteLength(text).toString(8).padStart(11, '0')}\0${'0'.repeat(11)}\0        0`, 124)
    header.write('ustar\x0000', 257)
    const sum = header.reduce((total, byte) => total + byte, 0)
    header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148)
    const data = Buffer.alloc(Math.ceil(Buffer.byteLength(text) / 512) * 512)
    data.write(text)
    return [header, data]
  })
  return Buffer.concat([...blocks, Buffer.alloc(1024)])
}
