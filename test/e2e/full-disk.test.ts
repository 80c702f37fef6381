import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, statfsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { ApiError, uploadContext } from '#infra/local/api-client.ts'
import { waitUntil } from '#infra/local/processes.ts'
import type { BuildView } from '#shared/protocol/builds.ts'
import { uploadFiles } from '#test/support/contexts.ts'
import { bootWithBusybox, type TestSlipway } from '#test/support/slipway.ts'

/** The whole data folder on a file system of 96 MB, which the tests fill up and free again. */

let slipway: TestSlipway
let folder: string
/** The agent looks at its disk every ten seconds. */
const PASSES_MS = 60_000
const megabytes = (count: number) => Buffer.alloc(count * 1_000_000, 1)

beforeAll(async () => {
  folder = mkdtempSync('/var/tmp/slipway-full-')
  const disk = join(folder, 'disk')
  mkdirSync(disk)
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=96m,mode=700', 'tmpfs', disk])
  slipway = await bootWithBusybox('e2efull', join(disk, 'data'))
})
afterAll(async () => {
  const left = await slipway?.remove()
  execFileSync('umount', [join(folder, 'disk')])
  rmSync(folder, { recursive: true, force: true })
  expect(left).toEqual([])
})

test('an upload that does not fit is refused, and leaves no bytes', async () => {
  const path = join(folder, 'big.tar')
  writeFileSync(path, megabytes(150))
  const attempt = uploadContext(slipway.api, path)
  await expect(attempt).rejects.toBeInstanceOf(ApiError)
  await expect(attempt).rejects.toMatchObject({ problem: { status: 507, code: 'host.disk-full' } })
  const used = execFileSync('du', ['-sm', slipway.layout.dataFolder], { encoding: 'utf8' })
  expect(Number.parseInt(used, 10)).toBeLessThan(60)
})

test('a context that finds no room is refused, and its build succeeds once there is some', async () => {
  const filler = join(slipway.layout.dataFolder, 'filler')
  try {
    execFileSync('sh', ['-c', `dd if=/dev/zero of=${filler} bs=64k 2>/dev/null || true`])
    const context = uploadFiles(slipway.api, { Dockerfile: 'FROM busybox\nRUN true\n' })
    await expect(context).rejects.toMatchObject({ problem: { code: 'host.disk-full' } })
  } finally {
    rmSync(filler, { force: true })
  }
  const context = await uploadFiles(slipway.api, { Dockerfile: 'FROM busybox\nRUN echo room > /room\n' })
  const build = await slipway.api.call<{ id: string }>('POST', '/v1/builds', { context, tags: ['room:1'] })
  const state = async () => (await slipway.api.call<{ state: string }>('GET', `/v1/builds/${build.id}`)).state
  expect(await waitUntil(async () => (await state()) === 'succeeded', 30_000)).toBe(true)
})

test('an archive that unpacks to more than there is ends its build, says why and leaves nothing', async () => {
  const zeros = 'truncate -s 300M zeros; tar -c zeros | gzip -1; rm zeros'
  const bomb = execFileSync('sh', ['-c', zeros], { cwd: folder, maxBuffer: 100_000_000 })
  const context = await uploadFiles(slipway.api, { Dockerfile: 'FROM busybox\nADD bomb.tgz /bomb\n', 'bomb.tgz': bomb })
  const build = await slipway.api.call<{ id: string }>('POST', '/v1/builds?wait=finished&timeout=60', {
    ...{ context, tags: ['bomb:1'] },
  })
  const { state, error } = await slipway.api.call<BuildView>('GET', `/v1/builds/${build.id}`)
  expect([state, error?.code]).toEqual(['failed', 'host.disk-full'])
  const { bavail, bsize } = statfsSync(slipway.layout.dataFolder)
  expect(bavail * bsize).toBeGreaterThan(20_000_000)
})

test('on a full disk a container that has ended and was kept for its time goes, and no other', async () => {
  const { api, layout } = slipway
  const make = (body: object) =>
    api.call<{ id: string }>('POST', '/v1/containers?wait=exited&timeout=60', { image: 'busybox', ...body })
  const write = ['sh', '-c', 'head -c 4000000 /dev/zero > /written']
  const kept = await make({ command: write })
  const young = await make({ command: write, keepFor: '1d' })
  const old = await make({ command: write, keepFor: '0s' })
  const isThere = ({ id }: { id: string }) =>
    api.call('GET', `/v1/containers/${id}`).then(
      () => true,
      () => false,
    )
  expect(await Promise.all([kept, young, old].map(isThere))).toEqual([true, true, true])
  const filler = join(layout.dataFolder, 'filler')
  try {
    const { bavail, bsize } = statfsSync(layout.dataFolder)
    writeFileSync(filler, Buffer.alloc(bavail * bsize - 8_000_000)) // Above the high mark; API and agent can write.
    expect(await waitUntil(async () => !(await isThere(old)), PASSES_MS)).toBe(true)
    expect(await Promise.all([kept, young].map(isThere))).toEqual([true, true])
  } finally {
    rmSync(filler, { force: true })
    for (const { id } of [kept, young]) await api.call('DELETE', `/v1/containers/${id}?wait=removed`)
  }
})
