import { execFile } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { CreateBucketCommand, S3Client } from '@aws-sdk/client-s3'
import { type Supervised, supervise, waitUntil } from '#infra/local/processes.ts'
import { freePort } from './slipway.ts'

/** Ceph's S3 on loopback: one monitor, one store in memory, one gateway, and one bucket. About 170 MB of memory at rest. */
export interface Radosgw extends AsyncDisposable {
  endpoint: string
  region: string
  bucket: string
  accessKeyId: string
  secretAccessKey: string
}

const KEYS = { accessKeyId: 'test', secretAccessKey: 'secret-of-no-worth' }
const STEP_MS = 30_000

/** Takes two to five seconds. Throws with where the logs are when a part does not come up; then nothing is left but them. */
export async function startRadosgw(): Promise<Radosgw> {
  const folder = mkdtempSync('/var/tmp/slipway-radosgw-')
  await using undo = new AsyncDisposableStack()
  const monitorPort = await freePort()
  const port = await freePort()
  const fsid = crypto.randomUUID()
  const configPath = join(folder, 'ceph.conf')
  for (const name of ['mon', 'osd']) mkdirSync(join(folder, name))
  writeFileSync(configPath, configuration(folder, fsid, monitorPort, port))

  const run = (program: string, ...args: string[]) => runCeph(program, ['-c', configPath, ...args])
  const start = (program: string, ...args: string[]) => undo.use(daemon(folder, program, ['-c', configPath, ...args]))
  await makeKeys(join(folder, 'keyring'))
  const address = `[v2:127.0.0.1:${monitorPort}/0]`
  const map = join(folder, 'monmap')
  await runCeph('monmaptool', ['--create', '--fsid', fsid, '--addv', 'a', address, map])
  await run('ceph-mon', '--mkfs', '-i', 'a', '--monmap', map, '--keyring', join(folder, 'keyring'))
  start('ceph-mon', '-f', '-i', 'a')
  await run('ceph', 'osd', 'create')
  await run('ceph-osd', '-i', '0', '--mkfs')
  start('ceph-osd', '-f', '-i', '0')
  start('radosgw', '-f', '-n', 'client.admin')
  const endpoint = `http://127.0.0.1:${port}`
  if (!(await waitUntil(() => answers(endpoint), STEP_MS))) throw new Error(`radosgw did not come up: see ${folder}`)

  const names = ['--uid', 'test', '--display-name', 'test']
  const secrets = ['--access-key', KEYS.accessKeyId, '--secret-key', KEYS.secretAccessKey]
  await run('radosgw-admin', 'user', 'create', ...names, ...secrets)
  await makeBucket(endpoint, 'slipway')
  const running = undo.move()
  return {
    ...{ endpoint, region: 'default', bucket: 'slipway', ...KEYS },
    [Symbol.asyncDispose]: async () => {
      await running.disposeAsync() // The gateway first, then what it stands on.
      rmSync(folder, { recursive: true, force: true })
    },
  }
}

/** One copy of everything, in memory; short rounds of the monitor, which else waits two seconds for each pool. */
function configuration(folder: string, fsid: string, monitorPort: number, port: number): string {
  const options = {
    fsid,
    mon_host: `[v2:127.0.0.1:${monitorPort}/0]`,
    public_addr: '127.0.0.1',
    cluster_addr: '127.0.0.1',
    ms_bind_port_min: 26_800,
    ms_bind_port_max: 27_300,
    keyring: join(folder, 'keyring'),
    run_dir: folder,
    log_file: join(folder, '$name.log'),
    mon_cluster_log_file: join(folder, 'cluster.log'),
    crash_dir: folder,
    admin_socket: '',
    mon_data: join(folder, 'mon'),
    osd_data: join(folder, 'osd'),
    rgw_data: folder,
    osd_objectstore: 'memstore',
    memstore_device_bytes: 2 * 1024 ** 3,
    osd_pool_default_size: 1,
    osd_pool_default_min_size: 1,
    osd_pool_default_pg_num: 1,
    osd_pool_default_pgp_num: 1,
    osd_pool_default_pg_autoscale_mode: 'off',
    osd_crush_chooseleaf_type: 0,
    mon_allow_pool_size_one: true,
    mon_data_avail_crit: 1,
    mon_data_avail_warn: 1,
    paxos_propose_interval: 0.05,
    paxos_min_wait: 0.01,
    rgw_enable_apis: 's3',
    rgw_thread_pool_size: 32,
    rgw_frontends: `beast endpoint=127.0.0.1:${port} tcp_nodelay=1`,
  }
  return `[global]\n${Object.entries(options)
    .map(([name, value]) => `${name} = ${value}\n`)
    .join('')}`
}

/** The gateway takes no cluster without authentication, so everyone gets a key. */
async function makeKeys(path: string): Promise<void> {
  const make = (name: string, ...caps: string[]) =>
    runCeph('ceph-authtool', [path, '--gen-key', '-n', name, ...caps.flatMap(part => ['--cap', part, 'allow *'])])
  writeFileSync(path, '')
  await make('mon.', 'mon')
  await make('client.admin', 'mon', 'osd', 'mgr')
  await make('osd.0', 'mon', 'osd')
}

async function runCeph(program: string, args: readonly string[]): Promise<void> {
  await promisify(execFile)(program, args, { timeout: STEP_MS, killSignal: 'SIGKILL' })
}

function daemon(folder: string, program: string, args: readonly string[]): Supervised {
  const logPath = join(folder, `${program}.out`)
  return supervise({ name: program, command: program, args, logPath }, how => {
    console.error(`${how}\n${readFileSync(logPath, 'utf8').slice(-2000)}`)
  })
}

const answers = (url: string) =>
  fetch(url, { signal: AbortSignal.timeout(2000) }).then(
    response => response.ok,
    () => false,
  )

async function makeBucket(endpoint: string, Bucket: string): Promise<void> {
  const client = new S3Client({ endpoint, region: 'default', forcePathStyle: true, credentials: KEYS })
  await client.send(new CreateBucketCommand({ Bucket }))
  client.destroy()
}
