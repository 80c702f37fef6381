import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { waitUntil } from '#infra/local/processes.ts'
import { logOf } from '#test/support/api.ts'
import { bootWithBusybox, freePort, type TestSlipway } from '#test/support/slipway.ts'
import { describeApi, runScript } from './api.contract.ts'
import { describeBuildCache } from './build-cache.contract.ts'
import { describeBuildLimits } from './build-limits.contract.ts'
import { describeBuildQueue } from './build-queue.contract.ts'
import { describeBuildSecrets } from './build-secrets.contract.ts'
import { describeCacheMounts } from './cache-mounts.contract.ts'
import { describeConfinement } from './confinement.contract.ts'
import { describeContextLayers } from './context-layers.contract.ts'
import { describeExec, describeExecSurvival } from './exec.contract.ts'
import { describeExpiry } from './expiry.contract.ts'
import { describeFiles } from './files.contract.ts'
import { describeLife } from './life.contract.ts'
import { describePushedLayers } from './pushed-layers.contract.ts'

let slipway: TestSlipway

beforeAll(async () => {
  slipway = await bootWithBusybox('e2eapi')
})
afterAll(async () => {
  expect(await slipway?.remove()).toEqual([])
})

describeApi(() => slipway)
describeConfinement(() => slipway)
describePushedLayers(() => slipway)
describeExpiry(() => slipway)
describeFiles(() => slipway)
describeExec(() => slipway)
describeExecSurvival(() => slipway)
describeLife(() => slipway)
describeBuildQueue(() => slipway)
describeBuildCache(() => slipway)
describeBuildLimits(() => slipway)
describeBuildSecrets(() => slipway)
describeCacheMounts(() => slipway)
describeContextLayers(() => slipway)

/** Docker's default set, as the kernel prints it: chown, dac_override, fowner, fsetid, kill, setgid, setuid, … */
const DOCKER_CAPABILITIES = '00000000a80425fb'

describe('isolation', () => {
  const inside = async (script: string, extra: object = {}) => (await runScript(slipway.api, script, extra)).output

  test("capabilities are Docker's default, seccomp filters, no new privileges", async () => {
    const status = await inside('cat /proc/self/status')
    expect(status).toMatch(new RegExp(`CapBnd:\\s+${DOCKER_CAPABILITIES}`))
    expect(status).toMatch(/Seccomp:\s+2/)
    expect(status).toMatch(/NoNewPrivs:\s+1/)
    expect(await inside('grep CapEff /proc/self/status', { user: '1000' })).toMatch(/CapEff:\s+0{16}/)
  })

  test('it is alone: processes, host name, network, IPC and mounts are its own', async () => {
    expect((await inside('ls -d /proc/[0-9]* | wc -l')).trim()).toMatch(/^[1-4]$/)
    expect(await inside('ls /sys/class/net')).toBe('eth0\nlo\n')
    expect(await inside('mount | grep -v " on / " | grep -c /var/tmp || true')).toBe('0\n')
  })

  test('kernel settings cannot be written, masked paths cannot be read', async () => {
    const attempts = {
      'write a setting': 'echo 1 > /proc/sys/kernel/panic',
      'ring SysRq': 'echo b > /proc/sysrq-trigger',
      'write to sysfs': 'touch /sys/x',
      'open a device': 'mknod /tmp/sda b 8 0 && head -c 1 /tmp/sda',
      mount: 'mount -t tmpfs none /tmp',
      'enter the host': 'nsenter -t 1 -m -n true && test -e /var/lib/dpkg',
    }
    for (const [name, attempt] of Object.entries(attempts)) {
      expect((await runScript(slipway.api, `(${attempt}) 2>/dev/null`)).exitCode, name).not.toBe(0)
    }
    expect(await inside('cat /proc/kcore /proc/keys /proc/timer_list 2>/dev/null | wc -c')).toBe('0\n')
  })

  test('limits hold: memory by a kill, processes by a refusal', async () => {
    const hungry = await runScript(slipway.api, 'dd if=/dev/zero of=/dev/null bs=200M count=1', { memory: '32m' })
    expect(hungry.exitCode).toBe(137)
    const many = await inside('for i in 1 2 3 4 5 6 7 8 9 10 11 12; do sleep 1 & done 2>&1; wait', { pidsLimit: 6 })
    expect(many).toContain('fork')
  })

  test('what one container writes is nobody else’s', async () => {
    await inside('echo mine > /etc/mine')
    expect(await inside('cat /etc/mine 2>&1; true')).toContain('No such file')
  })
})

describe('network', () => {
  test('a published port is reached from this machine by all its addresses, from other containers', async () => {
    const port = await freePort('0.0.0.0')
    const { address } = await slipway.api.call<{ address: string }>('POST', '/v1/containers?wait=running', {
      ...{ image: 'busybox', name: 'web', ports: [`${port}:80`] },
      command: ['sh', '-c', 'mkdir /www; echo reached > /www/index.html; exec httpd -f -p 80 -h /www'],
    })
    const gateway = address.replace(/\d+$/, '1')
    const get = (host: string) =>
      fetch(`http://${host}:${port}/`, { signal: AbortSignal.timeout(3000) }).then(answer => answer.text())
    // A container runs before its program listens.
    const isReached = () =>
      get('127.0.0.1').then(
        text => text === 'reached\n',
        () => false,
      )
    expect(await waitUntil(isReached, 20_000)).toBe(true)
    expect(await get(gateway)).toBe('reached\n')
    const fetched = await runScript(slipway.api, `wget -qO- http://${gateway}:${port}/; wget -qO- http://${address}/`)
    expect(fetched.output).toBe('reached\nreached\n')
    await slipway.api.call('DELETE', '/v1/containers/web?force=true&wait=removed')
    await expect(get('127.0.0.1')).rejects.toThrow()
  })
})

test('with nats-server stopped, everything works, slower', async () => {
  await slipway.nats.stop()
  const { id } = await slipway.api.call<{ id: string }>('POST', '/v1/containers?wait=exited&timeout=120', {
    image: 'busybox',
    command: ['true'],
  })
  expect(await slipway.api.call('GET', `/v1/containers/${id}`)).toMatchObject({ exitCode: 0 })
  await expect(logOf(slipway.api, id)).rejects.toMatchObject({ problem: { code: 'bus.unavailable' } })
  await slipway.api.call('DELETE', `/v1/containers/${id}?wait=removed&timeout=120`)
})
