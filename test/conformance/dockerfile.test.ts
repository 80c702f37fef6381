import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { uploadFolder } from '#infra/local/contexts.ts'
import { type FetchSources, openFetchSources } from '#test/support/fetch-sources.ts'
import { bootWithBusybox, type TestSlipway } from '#test/support/slipway.ts'
import type { Case } from './dockerfile-case.ts'
import { CONFIG_CASES } from './dockerfile-config.cases.ts'
import { COPY_CASES } from './dockerfile-copy.cases.ts'
import { FAULT_CASES } from './dockerfile-faults.cases.ts'
import { IMAGE_CASES } from './dockerfile-images.cases.ts'
import { LINT_CASES } from './dockerfile-lint.cases.ts'
import { PATH_CASES } from './dockerfile-paths.cases.ts'
import { RUN_CASES } from './dockerfile-run.cases.ts'
import { SYNTAX_CASES } from './dockerfile-syntax.cases.ts'
import { WORD_CASES } from './dockerfile-words.cases.ts'
import { type ReadImage, readImage } from './image-files.ts'

/** Docker's Dockerfile reference: each case is a real build in one booted system. */

let slipway: TestSlipway
let sources: FetchSources
let folder: string

beforeAll(async () => {
  slipway = await bootWithBusybox('confdf')
  folder = mkdtempSync('/var/tmp/slipway-dockerfile-')
  sources = await openFetchSources(join(folder, 'sources'))
})
afterAll(async () => {
  await sources?.[Symbol.asyncDispose]()
  if (folder) rmSync(folder, { recursive: true, force: true })
  expect(await slipway?.remove()).toEqual([])
})

interface Build {
  id: string
  state: string
  imageDigest?: string
  error?: { code: string; message: string; facts?: Record<string, unknown> }
  warnings?: { rule: string; line: number }[]
}

function typesOf({ manifest }: ReadImage): (string | undefined)[] {
  return manifest.layers.map(({ mediaType }) => mediaType.split('+')[1])
}

let count = 0
let contexts = 0

async function built(wanted: Pick<Case, 'dockerfile' | 'make' | 'request'>, tag: string): Promise<Build> {
  const context = join(folder, `context-${++contexts}`)
  mkdirSync(context)
  writeFileSync(join(context, 'Dockerfile'), wanted.dockerfile)
  if (wanted.make) execFileSync('bash', ['-ec', wanted.make], { cwd: context })
  const request = filled(wanted.request ?? {})
  const args = { URL: sources.url, GIT: sources.gitUrl, ...(request.args as object | undefined) }
  const body = { tags: [tag], ...request, args, context: await uploadFolder(slipway.api, context) }
  const { id } = await slipway.api.call<Build>('POST', '/v1/builds?wait=finished', body)
  return slipway.api.call<Build>('GET', `/v1/builds/${id}`)
}

/** A key is made for each run: none is in this repository. */
function filled(request: Record<string, unknown>): Record<string, unknown> {
  return JSON.parse(JSON.stringify(request).replace('"SSH-KEY"', JSON.stringify(sources.sshKey)))
}

async function imageOf(tag: string): Promise<ReadImage> {
  const [repository = '', version = ''] = tag.split(':')
  return readImage(slipway.api.url, slipway.operatorToken, repository, version)
}

async function logOf(id: string): Promise<string> {
  let text = ''
  for await (const piece of slipway.api.text(`/v1/builds/${id}/logs`)) text += piece
  return text
}

async function checked(wanted: Case): Promise<void> {
  const tag = `conform/c${++count}:1`
  const build = await built(wanted, tag)
  const log = await logOf(build.id)
  expect(build.state, log).toBe(wanted.error ? 'failed' : 'succeeded')
  if (wanted.error) {
    const { code, says, line, column } = wanted.error
    expect(build.error).toMatchObject({ code, message: expect.stringContaining(says) })
    if (line !== undefined) expect(build.error?.facts).toMatchObject({ file: 'Dockerfile', line })
    if (column !== undefined) expect(build.error?.facts).toMatchObject({ column })
  }
  for (const part of wanted.log ?? []) {
    if (part.startsWith('!')) expect(log).not.toContain(part.slice(1))
    else expect(log).toContain(part)
  }
  if (wanted.warnings) {
    expect(build.warnings?.map(({ rule, line }) => `${line} ${rule}`) ?? []).toEqual(wanted.warnings)
  }
  if (!wanted.error) checkImage(wanted, await imageOf(tag))
}

function checkImage({ files = {}, config }: Case, image: ReadImage): void {
  const found = Object.keys(files).map(path => [path, image.files.get(path) ?? '-'])
  const expected = Object.entries(files).map(([path, text]) => [path, text === 'any' ? image.files.get(path) : text])
  expect(Object.fromEntries(found)).toEqual(Object.fromEntries(expected))
  for (const [name, value] of Object.entries(config ?? {})) expect(image.config.config?.[name]).toEqual(value)
}

const TABLE: [string, Case[]][] = [
  ['syntax', SYNTAX_CASES],
  ['words', WORD_CASES],
  ['COPY and ADD', COPY_CASES],
  ['paths', PATH_CASES],
  ['RUN', RUN_CASES],
  ['configuration', CONFIG_CASES],
  ['images', IMAGE_CASES],
  ['faults', FAULT_CASES],
  ['warnings', LINT_CASES],
]

describe.each(TABLE)('%s', (_name, cases) => {
  test.each(cases)('$name', checked)
})

describe('a check alone', () => {
  test.each(LINT_CASES)('$name', async wanted => {
    const body = { ...wanted, request: { ...wanted.request, check: true, tags: [] } }
    const build = await built(body, 'conform/checked:1')
    const log = await logOf(build.id)
    expect(build.warnings?.map(({ rule, line }) => `${line} ${rule}`) ?? [], log).toEqual(wanted.warnings ?? [])
    expect([build.state, build.error?.code], log).toEqual(
      wanted.warnings?.length === 0
        ? ['succeeded', undefined]
        : ['failed', wanted.warnings ? 'build.warned' : wanted.error?.code],
    )
    expect(build.imageDigest).toBeUndefined()
    expect(log).not.toMatch(/pulling|\] RUN|exporting/)
  })

  test('finds faults that a build would find, in every stage that the target needs, and runs nothing', async () => {
    const dockerfile =
      'FROM busybox AS a\nENV A=b\nRUN false\nFROM a\nCOPY --from=a /x /$A\nRUN exit 1\nCMD ["$NONE"]\n'
    const check = { check: true, tags: [] }
    expect(await built({ dockerfile, request: check }, '')).toMatchObject({ state: 'succeeded' })
    const faulty = `${dockerfile}COPY --from=nowhere:1 a b\nEXPOSE much\n`
    const build = await built({ dockerfile: faulty, request: check }, '')
    expect(build).toMatchObject({ state: 'failed', error: { code: 'build.dockerfile-invalid', facts: { line: 9 } } })
    const refused = slipway.api.call('POST', '/v1/builds', { context: 'x', tags: [] })
    await expect(refused).rejects.toMatchObject({ problem: { code: 'request.invalid' } })
  })
})

describe('requests', () => {
  test('named contexts stand in for files, for stages and for images', async () => {
    const other = join(folder, 'other')
    execFileSync('bash', ['-ec', `mkdir ${other}; echo other > ${other}/o`])
    const contexts = { files: await uploadFolder(slipway.api, other), base: 'docker-image://busybox:latest' }
    const dockerfile = 'FROM base\nCOPY --from=files o /o\nRUN --mount=from=files,target=/m cp /m/o /p\n'
    const build = await built({ dockerfile, request: { contexts } }, 'conform/named:1')
    expect(build.state, await logOf(build.id)).toBe('succeeded')
    const { files } = await imageOf('conform/named:1')
    expect([files.get('o'), files.get('p')]).toEqual(['f 644 0:0 other\n', 'f 644 0:0 other\n'])
  })

  test('a named context of files can be a base', async () => {
    const other = join(folder, 'root')
    execFileSync('bash', ['-ec', `mkdir -p ${other}/etc; echo x > ${other}/etc/x`])
    const contexts = { rootfs: await uploadFolder(slipway.api, other) }
    const build = await built({ dockerfile: 'FROM rootfs\nLABEL a=b\n', request: { contexts } }, 'conform/rootfs:1')
    expect(build.state, await logOf(build.id)).toBe('succeeded')
    expect((await imageOf('conform/rootfs:1')).files.get('etc/x')).toBe('f 644 0:0 x\n')
  })

  test('a step is done again when what it mounts has changed, and only then', async () => {
    const dockerfile = 'FROM busybox\nRUN --mount=target=/c,source=d cat /c/a > /a\n'
    const make = (text: string) => `mkdir d; echo ${text} > d/a; date +%N > other`
    const first = await built({ dockerfile, make: make('one') }, 'conform/mounted:1')
    const again = await built({ dockerfile, make: make('one') }, 'conform/mounted:1')
    const changed = await built({ dockerfile, make: make('two') }, 'conform/mounted:2')
    const logs = await Promise.all([first, again, changed].map(({ id }) => logOf(id)))
    expect(logs.map(log => log.includes('CACHED'))).toEqual([false, true, false])
    expect((await imageOf('conform/mounted:2')).files.get('a')).toBe('f 644 0:0 two\n')
  })

  test('annotations are in the manifest', async () => {
    await built(
      { dockerfile: 'FROM scratch\nLABEL a=b\n', request: { annotations: { 'x.y': 'z' } } },
      'conform/noted:1',
    )
    expect((await imageOf('conform/noted:1')).manifest.annotations).toEqual({ 'x.y': 'z' })
  })

  test('with SOURCE_DATE_EPOCH the same input gives the same image, without a cache', async () => {
    const dockerfile =
      'FROM busybox\nRUN mkdir /d && date > /dev/null && echo x > /d/a\nCOPY f /f\nCOPY <<g /g\ntext\ng\nWORKDIR /w\n'
    const request = { args: { SOURCE_DATE_EPOCH: '1000000000' }, noCache: true }
    const wanted = { dockerfile, make: 'echo f > f; touch -d @1234567890 f', request }
    await built(wanted, 'conform/epoch:1')
    await new Promise(resolve => setTimeout(resolve, 1100)) // Times would differ by a second at least.
    await built(wanted, 'conform/epoch:2')
    const [one, two] = [await imageOf('conform/epoch:1'), await imageOf('conform/epoch:2')]
    expect(two.manifest).toEqual(one.manifest)
    expect(one.config.created).toBe('2001-09-09T01:46:40.000Z')
  })

  test('layers in zstd: taken as they are by a build in gzip, made gzip where it insists, and the same image again', async () => {
    const args = { SOURCE_DATE_EPOCH: '1000000000' }
    const dockerfile = 'FROM busybox\nRUN seq 100000 > /numbers && rm /bin/busybox.txt 2> /dev/null; true\n'
    const image = async (tag: string, request: object) => {
      const build = await built({ dockerfile, request: { args, ...request } }, tag)
      expect(build.state, await logOf(build.id)).toBe('succeeded')
      const made = await imageOf(tag)
      expect(made.files.get('numbers')).toContain('f 644 0:0 1\n2\n')
      return { ...made, isCached: (await logOf(build.id)).includes('CACHED'), types: typesOf(made) }
    }
    const zstd = await image('conform/zstd:1', { compression: 'zstd' })
    expect(zstd.types).toEqual(['gzip', 'zstd'])
    const asItIs = await image('conform/zstd:2', { compression: 'gzip' })
    expect([asItIs.types, asItIs.isCached]).toEqual([zstd.types, true])
    const forced = await image('conform/zstd:3', { compression: 'gzip', forceCompression: true })
    expect([forced.types, forced.isCached]).toEqual([['gzip', 'gzip'], true])
    expect(forced.config).toEqual(zstd.config)
    const anew = await image('conform/zstd:4', { compression: 'zstd', noCache: true })
    expect(anew.manifest).toEqual(zstd.manifest)
    const small = await image('conform/zstd:5', { compression: 'zstd', compressionLevel: 19, noCache: true })
    expect(small.manifest.layers[1]?.size).toBeLessThan(zstd.manifest.layers[1]?.size ?? 0)
  })

  test('secrets are in no answer, log, history, layer or file of the agent', async () => {
    const value = 'wert-der-geheim-bleibt'
    const dockerfile =
      'FROM busybox\nRUN --mount=type=secret,id=s --mount=type=secret,id=k,required cat /run/secrets/s && sleep 1 && wc -c < /run/secrets/k\n'
    await slipway.api.call('PUT', '/v1/secrets/kept', { value: 'behalten-und-geheim' })
    const secrets = { s: value, k: { secret: 'kept' } }
    const build = await built({ dockerfile, request: { secrets } }, 'conform/secret:1')
    expect(await logOf(build.id)).toContain('***19\n')
    expect(JSON.stringify(build) + (await logOf(build.id))).not.toContain(value)
    expect(JSON.stringify(await imageOf('conform/secret:1'))).not.toContain(value)
    const found = execFileSync('sh', ['-c', `grep -rlaF ${value} ${slipway.layout.dataFolder} || true`]).toString()
    expect(found).toBe('')
  })
})
