import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { ApiError, apiClient, uploadContext } from '#infra/local/api-client.ts'
import { uploadFiles } from '#test/support/contexts.ts'
import { bootWithBusybox, freePort, type TestSlipway } from '#test/support/slipway.ts'

/** Each bad input gets its own code and a sentence that says what to do, and leaves nothing behind. */

let slipway: TestSlipway
let folder: string

beforeAll(async () => {
  slipway = await bootWithBusybox('e2ebad')
  folder = mkdtempSync('/var/tmp/slipway-bad-')
})
afterAll(async () => {
  rmSync(folder, { recursive: true, force: true })
  expect(await slipway?.remove()).toEqual([])
})

async function problemOf(attempt: Promise<unknown>): Promise<{ status: number; code: string; detail: string }> {
  try {
    await attempt
  } catch (error) {
    if (error instanceof ApiError) return error.problem
    throw error
  }
  throw new Error('the API took it')
}

interface Failed {
  state: string
  error: { code: string; message: string; facts?: Record<string, unknown> }
}

async function failedBuild(context: string, extra: object = {}): Promise<Failed['error']> {
  const body = { context, tags: ['bad:latest'], ...extra }
  const { id } = await slipway.api.call<{ id: string }>('POST', '/v1/builds?wait=finished', body)
  const build = await slipway.api.call<Failed>('GET', `/v1/builds/${id}`)
  expect(build.state).toBe('failed')
  return build.error
}

const create = (body: object, query = '') => slipway.api.call<{ id: string }>('POST', `/v1/containers${query}`, body)

describe('requests', () => {
  test('a bad token', async () => {
    const stranger = apiClient(slipway.api.url, 'slw_wrong')
    expect(await problemOf(stranger.call('GET', '/v1/containers'))).toMatchObject({
      status: 401,
      code: 'auth.token-invalid',
    })
  })

  test('a body too large', async () => {
    const body = { image: 'busybox', labels: { big: 'x'.repeat(2_000_000) } }
    expect(await problemOf(create(body))).toMatchObject({ status: 413, code: 'request.too-large' })
  })

  test('an unknown image', async () => {
    const problem = await problemOf(create({ image: 'nowhere:1' }))
    expect(problem).toMatchObject({ status: 404, code: 'image.not-found' })
    expect(problem.detail).toContain('nowhere:1')
  })

  test('a port another container holds, named', async () => {
    const port = await freePort('0.0.0.0')
    const holder = await create({ image: 'busybox', name: 'holder', command: ['sleep', '100'], ports: [`${port}:80`] })
    const problem = await problemOf(create({ image: 'busybox', ports: [`${port}:81`] }))
    expect(problem).toMatchObject({ status: 409, code: 'port.taken' })
    expect(problem.detail).toContain('holder')
    await slipway.api.call('DELETE', `/v1/containers/${holder.id}?force=true&wait=removed`)
  })

  test.each([
    ['is not there', 'no-such-program', 127, 'container.command-not-found'],
    ['is a folder', '/bin', 126, 'container.command-not-executable'],
  ])('a command that %s: %s ends with %i, and why', async (_what, program, exitCode, code) => {
    const { id } = await create({ image: 'busybox', command: [program] }, '?wait=exited')
    expect(await slipway.api.call('GET', `/v1/containers/${id}`)).toMatchObject({
      state: 'exited',
      exitCode,
      error: { code },
    })
    await slipway.api.call('DELETE', `/v1/containers/${id}?wait=removed`)
  })
})

describe('builds', () => {
  test('a context that was never uploaded', async () => {
    const { id } = await slipway.api.call<{ id: string }>('POST', '/v1/contexts', {})
    expect(await problemOf(slipway.api.call('POST', '/v1/builds', { context: id, tags: ['a:1'] }))).toMatchObject({
      code: 'context.not-uploaded',
    })
  })

  test('a context that does not exist', async () => {
    const body = { context: 'aaaaaaaaaaaaaaaa', tags: ['a:1'] }
    expect(await problemOf(slipway.api.call('POST', '/v1/builds', body))).toMatchObject({
      status: 404,
      code: 'context.not-found',
    })
  })

  test("a tag with a registry's address", async () => {
    const context = await uploadFiles(slipway.api, { Dockerfile: 'FROM busybox\n' })
    const problem = await problemOf(slipway.api.call('POST', '/v1/builds', { context, tags: ['localhost:5000/a:1'] }))
    expect(problem).toMatchObject({
      code: 'image.reference-invalid',
      detail: expect.stringContaining('by a name alone (a)'),
    })
  })

  test('a source that is not there: its step says so, however early that is known', async () => {
    const context = await uploadFiles(slipway.api, { Dockerfile: 'FROM busybox\nRUN sleep 1\nCOPY nothing /\n' })
    const body = { context, tags: ['bad:latest'] }
    const { id } = await slipway.api.call<{ id: string }>('POST', '/v1/builds?wait=finished', body)
    expect(await slipway.api.call<Failed>('GET', `/v1/builds/${id}?wait=finished`)).toMatchObject({
      error: { code: 'build.source-not-found', facts: { line: 3 } },
    })
    const { steps } = await slipway.api.call<{ steps: { state: string }[] }>('GET', `/v1/builds/${id}/steps`)
    expect(steps.map(({ state }) => state)).not.toContain('running')
  })

  test('a broken Dockerfile: file, line and column', async () => {
    const context = await uploadFiles(slipway.api, { Dockerfile: 'FROM busybox\n\nCOPPY a b\n' })
    const error = await failedBuild(context)
    expect(error).toMatchObject({ code: 'build.dockerfile-invalid', facts: { file: 'Dockerfile', line: 3, column: 1 } })
    expect(error.message).toContain('COPPY')
  })

  test('no Dockerfile', async () => {
    const context = await uploadFiles(slipway.api, { 'README.md': 'nothing' })
    expect(await failedBuild(context)).toMatchObject({ code: 'build.dockerfile-missing' })
  })

  test('a step that fails: its line and exit code', async () => {
    const context = await uploadFiles(slipway.api, { Dockerfile: 'FROM busybox\nRUN exit 3\n' })
    expect(await failedBuild(context)).toMatchObject({ code: 'build.step-failed', facts: { line: 2, exitCode: 3 } })
  })

  test('an image that nobody built', async () => {
    const context = await uploadFiles(slipway.api, { Dockerfile: 'FROM no-such-image:7\nRUN true\n' })
    expect(await failedBuild(context)).toMatchObject({ code: 'image.not-found' })
  })

  test('an image for another architecture', async () => {
    const context = await uploadFiles(slipway.api, { Dockerfile: 'FROM --platform=linux/s390x busybox\nRUN true\n' })
    expect(await failedBuild(context)).toMatchObject({ code: 'image.wrong-architecture' })
  })

  test.each([
    ['a name that climbs out', ['--transform', 's,^file$,../../escape,', '-P', 'file']],
    ['an absolute name', ['--transform', 's,^file$,/etc/escape,', '-P', 'file']],
    ['an absolute link', ['link']],
  ])('a tar with %s', async (_name, args) => {
    writeFileSync(join(folder, 'file'), 'text')
    rmSync(join(folder, 'link'), { force: true })
    symlinkSync('/etc/passwd', join(folder, 'link'))
    writeFileSync(join(folder, 'Dockerfile'), 'FROM scratch\nCOPY . /\n')
    const tar = join(folder, 'bad.tar')
    execFileSync('tar', ['-cf', tar, '-C', folder, 'Dockerfile', ...args])
    expect(await failedBuild(await uploadContext(slipway.api, tar))).toMatchObject({ code: 'context.unsafe-path' })
  })

  test('bytes that are no tar', async () => {
    const path = join(folder, 'noise')
    writeFileSync(path, Buffer.alloc(100_000, 'noise'))
    expect(await failedBuild(await uploadContext(slipway.api, path))).toMatchObject({ code: 'context.invalid' })
  })
})
