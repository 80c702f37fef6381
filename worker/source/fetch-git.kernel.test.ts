import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import { createServer } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { waitUntil } from '#infra/local/processes.ts'
import type { GitSource } from '#shared/domain/build.ts'
import { type GitServer, openGitServer } from '#test/support/git-server.ts'
import { freePort } from '#test/support/slipway.ts'
import { openKey, openSshGit } from '#test/support/ssh-git.ts'
import { fetchGit } from './fetch-git.ts'

const LIMITS = { maxBytes: 1024 ** 2, maxEntries: 100 }
const FIRST = 'printf one >file; mkdir app; printf app >app/main; ln -s main app/link; git add .; git commit -qm 1'

interface Taken {
  commit: string
  /** Path, type and, of files, the text. */
  files: string[]
  mtime: number
  steps: string[]
}

async function taken(source: Partial<GitSource> & { url: string }, secret?: string): Promise<Taken> {
  using undo = new DisposableStack()
  const folder = mkdtempSync(join(tmpdir(), 'slipway-fetch-'))
  undo.defer(() => rmSync(folder, { recursive: true }))
  const into = join(folder, 'into')
  mkdirSync(into)
  const steps: string[] = []
  let commit = ''
  await fetchGit(
    { submodules: false, ...source },
    {
      ...{ folder: join(folder, 'git'), into, secret, limits: LIMITS, signal: new AbortController().signal },
      ...{ requireRoom: () => {}, onStep: text => steps.push(text), onCommit: found => (commit = found) },
    },
  )
  expect(existsSync(join(folder, 'git'))).toBe(false)
  const names = execFileSync('find', ['.', '-mindepth', '1', '-printf', '%P %y\n'], { cwd: into, encoding: 'utf8' })
  const files = names
    .trim()
    .split('\n')
    .filter(line => !line.endsWith(' d'))
    .map(line => (line.endsWith(' f') ? `${line.slice(0, -2)}: ${readFileSync(join(into, line.slice(0, -2)))}` : line))
    .sort()
  const [plain] = files.filter(line => line.includes(': '))
  const mtime = plain ? statSync(join(into, plain.slice(0, plain.indexOf(': ')))).mtimeMs : 0
  return { commit, files, mtime, steps }
}

let server: GitServer
beforeAll(async () => {
  server = await openGitServer()
})
afterAll(() => server?.[Symbol.asyncDispose]())

const url = (name: string) => `${server.url}/${name}.git`

describe('what is fetched', () => {
  test('the default branch, a branch, a tag that is an object, a whole name and a commit that is no tip', async () => {
    const first = server.repository('refs', `${FIRST}; git tag -a v1 -m v1`)
    const second = server.repository('refs', 'git checkout -qb next/thing; printf two >file; git commit -qam 2')
    const one = { commit: first, files: ['app/link l', 'app/main: app', 'file: one'] }
    const two = { commit: second, files: ['app/link l', 'app/main: app', 'file: two'] }
    expect(await taken({ url: url('refs') })).toMatchObject(one)
    expect(await taken({ url: url('refs'), ref: 'next/thing' })).toMatchObject(two)
    expect(await taken({ url: url('refs'), ref: 'v1' })).toMatchObject(one)
    expect(await taken({ url: url('refs'), ref: 'refs/heads/main' })).toMatchObject(one)
    const asked = await taken({ url: url('refs'), ref: second })
    expect(asked).toMatchObject(two)
    expect(asked.steps.join()).toContain(second)
    await expect(taken({ url: url('refs'), ref: 'nothing' })).rejects.toMatchObject({ code: 'source.fetch-failed' })
    const unknown = taken({ url: url('refs'), ref: 'a'.repeat(40) })
    await expect(unknown).rejects.toMatchObject({ code: 'source.not-found' })
  })

  test('one commit alone, even where the server refuses to be asked for it by its id', async () => {
    await using strict = await openGitServer({ 'uploadpack.allowAnySHA1InWant': 'false' })
    const first = strict.repository('old', FIRST)
    strict.repository('old', 'printf two >file; git commit -qam 2')
    const old = await taken({ url: `${strict.url}/old.git`, ref: first })
    expect(old).toMatchObject({ commit: first, files: ['app/link l', 'app/main: app', 'file: one'] })
  })

  test('a subfolder, with the time of its commit', async () => {
    server.repository('sub', FIRST)
    const { files, mtime } = await taken({ url: url('sub'), subfolder: 'app' })
    expect(files).toEqual(['link l', 'main: app'])
    expect(new Date(mtime).toISOString()).toBe('2020-02-02T02:02:02.000Z')
    const file = taken({ url: url('sub'), subfolder: 'file' })
    await expect(file).rejects.toMatchObject({ code: 'source.not-found' })
    await expect(taken({ url: url('sub'), subfolder: 'none' })).rejects.toMatchObject({ code: 'source.not-found' })
  })

  test('all that is in the repository, whatever its attributes say of archives', async () => {
    const attributes = "printf 'file export-ignore\\nid export-subst\\n' >.gitattributes; printf %s '$Format:%H$' >id"
    server.repository('attributes', `${attributes}; ${FIRST}`)
    const { files } = await taken({ url: url('attributes') })
    expect(files).toContain('file: one')
    expect(files).toContain('id: $Format:%H$')
  })
})

describe('for a reader that follows no link', () => {
  test('links may lead out, and the folder of git comes along where it is asked for', async () => {
    const commit = server.repository('links', `ln -s /etc/passwd out; ${FIRST}; chmod +x file; git commit -qam 2`)
    using undo = new DisposableStack()
    const folder = mkdtempSync(join(tmpdir(), 'slipway-fetch-'))
    undo.defer(() => rmSync(folder, { recursive: true }))
    const into = join(folder, 'into')
    mkdirSync(into)
    const fetch = {
      ...{ folder: join(folder, 'git'), into, secret: undefined, limits: LIMITS, signal: new AbortController().signal },
      ...{ requireRoom: () => {}, onStep: () => {}, onCommit: () => {}, keepsGit: true },
    }
    const source = { url: url('links'), submodules: false }
    await expect(fetchGit(source, fetch)).rejects.toMatchObject({ code: 'context.unsafe-path' })
    rmSync(into, { recursive: true })
    mkdirSync(into)
    await fetchGit(source, { ...fetch, keepsLinks: true })
    const git = (...args: string[]) => execFileSync('git', args, { cwd: into, encoding: 'utf8' }).trim()
    expect(git('rev-parse', 'HEAD')).toBe(commit)
    expect(git('status', '--porcelain')).toBe('')
    expect(git('remote', 'get-url', 'origin')).toBe(url('links'))
    const modes = ['file', 'app/main', '.git/HEAD'].map(name => statSync(join(into, name)).mode & 0o777)
    expect(modes).toEqual([0o755, 0o644, 0o644])
    expect(statSync(join(into, '.git/HEAD')).uid).toBe(0)
  })
})

describe('submodules', () => {
  const link = (name: string, path: string, commit: string) =>
    `git config -f .gitmodules submodule.${path}.path ${path}; git config -f .gitmodules submodule.${path}.url ${name};
     git add .gitmodules; git update-index --add --cacheinfo 160000,${commit},${path}`

  test('come where they are asked for, in each other, by URLs of both kinds', async () => {
    const inner = server.repository('inner', 'printf inner >i; git add .; git commit -qm 1')
    const middle = server.repository(
      'middle',
      `printf m >m; git add m; ${link('../inner.git', 'deep/in', inner)}; git commit -qm 1`,
    )
    server.repository('outer', `${FIRST}; ${link(url('middle'), 'app/mid', middle)}; git commit -qm 2`)
    const whole = await taken({ url: url('outer'), submodules: true })
    expect(whole.files).toContain('app/mid/m: m')
    expect(whole.files).toContain('app/mid/deep/in/i: inner')
    expect((await taken({ url: url('outer') })).files).not.toContain('app/mid/m: m')
    const below = await taken({ url: url('outer'), submodules: true, subfolder: 'app' })
    expect(below.files).toContain('mid/deep/in/i: inner')
  })

  test('do not lead to files of this host, nor into a private network', async () => {
    const commit = server.repository('innocent', FIRST)
    for (const to of [
      '/etc',
      'file:///etc',
      'ext::sh -c true',
      'http://127.0.0.1:1/x.git',
      'http://169.254.169.254/x',
    ]) {
      const name = `hostile${to.length}`
      server.repository(name, `printf x >x; git add x; ${link(`"${to}"`, 'm', commit)}; git commit -qm 1`)
      const attempt = taken({ url: url(name), submodules: true })
      await expect(attempt, to).rejects.toMatchObject({ code: 'source.refused' })
    }
    expect((await taken({ url: url('hostile4') })).files).toContain('x: x')
  })
})

describe('a repository is anyone’s', () => {
  test('no link leads out of it, and no more than the limit comes', async () => {
    for (const [name, target] of [
      ['up', '../../../etc/passwd'],
      ['absolute', '/etc/passwd'],
    ]) {
      server.repository(`link-${name}`, `ln -s ${target} out; git add out; git commit -qm 1`)
      await expect(taken({ url: url(`link-${name}`) })).rejects.toMatchObject({ code: 'context.unsafe-path' })
    }
    server.repository('link-sub', 'mkdir app; ln -s ../secret app/out; printf s >secret; git add .; git commit -qm 1')
    const below = taken({ url: url('link-sub'), subfolder: 'app' })
    await expect(below).rejects.toMatchObject({ code: 'context.unsafe-path' })
    server.repository('large', 'head -c 2000000 /dev/zero >zeros; git add .; git commit -qm 1')
    await expect(taken({ url: url('large') })).rejects.toMatchObject({ code: 'request.too-large' })
  })

  test('its server sends us nowhere else', async () => {
    server.repository('moved', FIRST)
    const redirecting = createServer((request, response) => {
      response.writeHead(302, { location: `${server.url}${request.url}` }).end()
    })
    const port = await freePort()
    await new Promise<void>(listening => redirecting.listen(port, '127.0.0.1', listening))
    try {
      const asked = server.requests.length
      const attempt = taken({ url: `http://127.0.0.1:${port}/moved.git` })
      await expect(attempt).rejects.toMatchObject({ code: 'source.fetch-failed' })
      expect(server.requests.length).toBe(asked)
    } finally {
      redirecting.closeAllConnections()
      await new Promise(closed => redirecting.close(closed))
    }
  })
})

describe('credentials', () => {
  test('a token and a password open a repository, and neither is shown', async () => {
    await using closed = await openGitServer()
    const commit = closed.repository('secret', FIRST)
    const source = { url: `${closed.url}/secret.git` }
    closed.protect('x-access-token', 'hunter2-token')
    expect(await taken(source, 'hunter2-token')).toMatchObject({ commit })
    closed.protect('me', 'pass:word')
    expect(await taken(source, 'me:pass:word')).toMatchObject({ commit })
    const wrong = await taken(source, 'wrong-password').catch((error: Error) => error)
    expect(wrong).toMatchObject({ code: 'source.fetch-failed' })
    expect(JSON.stringify(wrong)).not.toContain('wrong-password')
    await expect(taken(source)).rejects.toMatchObject({ code: 'source.fetch-failed' })
  })

  test('no other server gets them', async () => {
    await using closed = await openGitServer()
    await using other = await openGitServer()
    const inner = other.repository('inner', FIRST)
    const modules = `git config -f .gitmodules submodule.m.path m; git config -f .gitmodules submodule.m.url ${other.url}/inner.git`
    const script = `${modules}; git add .gitmodules; git update-index --add --cacheinfo 160000,${inner},m; git commit -qm 1`
    closed.repository('outer', script)
    closed.protect('x-access-token', 'hunter2')
    other.protect('nobody', 'else')
    const attempt = taken({ url: `${closed.url}/outer.git`, submodules: true }, 'hunter2')
    await expect(attempt).rejects.toMatchObject({ code: 'source.refused' })
    expect(other.requests).toEqual([])
  })
})

describe('over ssh', () => {
  test('a private key opens a repository; a server whose key is not the one that stands behind it does not get it', async () => {
    await using sshd = await openSshGit()
    const commit = sshd.repository('app', FIRST)
    const source = { url: sshd.urlOf('app') }
    expect(await taken(source, sshd.key)).toMatchObject({ commit, files: ['app/link l', 'app/main: app', 'file: one'] })
    expect(await taken(source, `${sshd.key}${sshd.knownHosts}`)).toMatchObject({ commit })
    const other = sshd.knownHosts.replace(/ssh-ed25519 .*/, (await openKey()).publicKey)
    await expect(taken(source, `${sshd.key}${other}`)).rejects.toMatchObject({ code: 'source.fetch-failed' })
    const stranger = taken(source, (await openKey()).key)
    await expect(stranger).rejects.toMatchObject({ code: 'source.fetch-failed' })
    expect(existsSync('/mnt/key')).toBe(false)
  })
})

/** Whether a process is this program itself, not what started it. */
function isProgram(pid: string, argument: string, program: string): boolean {
  try {
    const args = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0')
    return args[0]?.split('/').at(-1) === program && args.some(text => text.includes(argument))
  } catch {
    return false // It is none, or has ended.
  }
}

test('git is nobody and gains nothing; a cancel ends it and whatever it started', async () => {
  const stalled = createServer(() => {})
  const port = await freePort()
  await new Promise<void>(listening => stalled.listen(port, '127.0.0.1', listening))
  const folder = mkdtempSync(join(tmpdir(), 'slipway-fetch-'))
  const running = () => execFileSync('sh', ['-c', 'cat /proc/[0-9]*/cmdline 2>/dev/null | tr "\\0" " "']).toString()
  try {
    const cancel = new AbortController()
    const stalledSource = { url: `http://127.0.0.1:${port}/x.git`, submodules: false }
    const options = (signal: AbortSignal) => ({
      ...{ folder: join(folder, 'git'), into: folder, secret: undefined, limits: LIMITS, signal },
      ...{ requireRoom: () => {}, onStep: () => {}, onCommit: () => {} },
    })
    const attempt = fetchGit(stalledSource, options(cancel.signal))
    expect(await waitUntil(async () => running().includes(`remote-http http://127.0.0.1:${port}`), 10_000)).toBe(true)
    const [pid = ''] = readdirSync('/proc').filter(name => isProgram(name, `127.0.0.1:${port}`, 'git'))
    const status = readFileSync(`/proc/${pid}/status`, 'utf8')
    expect(status).toMatch(/^Uid:\t65534\t65534\t65534\t65534$/m)
    expect(status).toMatch(/^NoNewPrivs:\t1$/m)
    expect(status).toMatch(/^CapBnd:\t0+$/m)
    cancel.abort()
    await expect(attempt).rejects.toThrow()
    const late = fetchGit(stalledSource, { ...options(new AbortController().signal), deadlineMs: 300 })
    await expect(late).rejects.toMatchObject({
      code: 'source.fetch-failed',
      message: expect.stringMatching(/^The fetch of http.* took longer than 0.005 minutes and was ended. Try again/),
    })
    const slow = {
      ...options(new AbortController().signal),
      commandMs: 300,
      enter: ['nsenter', '--net=/proc/self/ns/net'],
    }
    await expect(fetchGit(stalledSource, slow)).rejects.toMatchObject({
      code: 'source.fetch-failed',
      message: expect.stringMatching(/^git fetch took longer than 0.005 minutes and was ended. Try again/),
    })
    expect(await waitUntil(async () => !running().includes(`127.0.0.1:${port}`), 10_000)).toBe(true)
    expect(existsSync(join(folder, 'git'))).toBe(false)
  } finally {
    rmSync(folder, { recursive: true, force: true })
    stalled.closeAllConnections()
    await new Promise(closed => stalled.close(closed))
  }
})

test('a fetch leaves no mount', async () => {
  const ours = () => readFileSync('/proc/self/mountinfo', 'utf8').match(/ (?:\/tmp|\/mnt|\S*slipway-fetch-\S*) /g) ?? []
  const before = ours()
  server.repository('mounts', FIRST)
  await taken({ url: url('mounts') })
  expect(ours()).toEqual(before)
})
