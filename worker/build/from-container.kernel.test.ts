import { randomBytes } from 'node:crypto'
import { existsSync, mkdirSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { waitUntil } from '#infra/local/processes.ts'
import type { BuildSpecOf } from '#shared/domain/build.ts'
import { openTestHost, type TestHost } from '#test/support/test-host.ts'
import { type OpenSnapshot, openSnapshot } from '../execute/container-snapshot.ts'
import { removeContainer } from '../execute/remove-container.ts'
import { runContainer } from '../execute/run-container.ts'
import { packChanges } from './from-container.ts'

let host: TestHost
beforeAll(async () => {
  host = await openTestHost('tcommit', 8)
})
afterAll(() => host?.[Symbol.asyncDispose]())

/** Random, so that packing takes some time. */
const FILES = 120
const FILE_BYTES = 256 * 1024

test.each([true, false])(
  'a container that goes while its files are packed leaves no layer, pause: %s',
  async pauses => {
    const want = host.want(['sleep', '1000'])
    const { ports } = host
    await runContainer({ kind: 'runContainer', want, run: 1, attempts: 0, restarts: 0 }, ports)
    await using snapshot = await openSnapshot(ports, want.id, want.spec)
    mkdirSync(join(snapshot.rootfs, 'many'))
    for (let i = 0; i < FILES; i++) writeFileSync(join(snapshot.rootfs, `many/${i}`), randomBytes(FILE_BYTES))
    const spec: BuildSpecOf<'container'> = {
      ...{ kind: 'container', tags: ['a:1'], pauses, container: { id: want.id, spec: want.spec } },
      ...{ changes: [], compression: 'gzip' },
    }
    const work = { ports, held: new Set<string>(), signal: new AbortController().signal }
    const pack = (name: string, held: Pick<OpenSnapshot, 'requireWhole'>) =>
      packChanges(spec, work, held, join(host.dataFolder, name))
    expect((await pack(`whole-${pauses}`, snapshot)).unpackedBytes).toBeGreaterThan(FILES * FILE_BYTES)
    const path = join(host.dataFolder, `torn-${pauses}`)
    // However quick one of the two is: packing ends after the removal.
    const removal = Promise.withResolvers<void>()
    const torn = pack(`torn-${pauses}`, { requireWhole: () => removal.promise.then(snapshot.requireWhole) })
    torn.catch(() => {})
    expect(await waitUntil(async () => existsSync(path) && statSync(path).size > 0, 10_000)).toBe(true)
    await removeContainer(ports, want.id).finally(removal.resolve)
    await expect(torn).rejects.toMatchObject({ code: 'container.files-unavailable' })
    expect([...work.held]).toEqual([])
  },
)
