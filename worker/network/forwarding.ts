import { existsSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { ensureSysctl, readSysctl } from '#worker/host/sysctl.ts'
import { hasBridges } from './bridge.ts'

const IP_FORWARD = 'net/ipv4/ip_forward'

/** Whether this host forwards packets, and whether that is our doing: a file in the run folder, as old as this boot. */
export interface Forwarding {
  /** Whether it was off when we came. Kept before it is turned on: the rule that refuses others has to be there first. */
  isOurs(): boolean
  turnOn(): void
  /** Puts it back, unless another bridge is left, whose owner found it on and may have come to rely on it. */
  putBack(): void
}

export function forwarding(runFolder: string): Forwarding {
  const mark = join(runFolder, 'forwarding-was-off')
  return {
    isOurs: () => {
      if (readSysctl(IP_FORWARD) === '0') writeFileSync(mark, '')
      return existsSync(mark)
    },
    turnOn: () => void ensureSysctl(IP_FORWARD, '1'),
    putBack: () => {
      if (existsSync(mark) && !hasBridges()) ensureSysctl(IP_FORWARD, '0')
      rmSync(mark, { force: true })
    },
  }
}
