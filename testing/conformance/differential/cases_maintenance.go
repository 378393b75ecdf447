package main

import (
	"fmt"
	"syscall"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// Maintenance and Cluster: status, hashes, defragmentation, alarms and what
// each alarm forbids, the member list.

func init() {
	registerMaintenance()
	registerAlarms()
	registerAlarmEffects()
	registerCluster()
}

func registerMaintenance() {
	fresh("maintenance/status", func(s *side) {
		s.Status()
		s.put("a", "v")
		s.Status()
	})
	fresh("maintenance/status-quota-from-flag", func(s *side) {
		s.Status()
	}, "--quota-backend-bytes", "123456789")
	fresh("maintenance/status-quota-disabled", func(s *side) {
		s.Status()
		s.put("a", "v")
	}, "--quota-backend-bytes", "-1")
	fresh("maintenance/status-numbers-agree", func(s *side) {
		for i := range 3 {
			s.put("a", fmt.Sprint(i))
			status, err := s.maintenance.Status(s.ctx, &pb.StatusRequest{})
			if err != nil {
				s.giveUp("status: %v", err)
			}
			s.note("leader is the member", fmt.Sprint(status.Leader == status.Header.MemberId))
			s.note("terms agree", fmt.Sprint(status.RaftTerm == status.Header.RaftTerm))
			s.note("applied is not beyond committed", fmt.Sprint(status.RaftAppliedIndex <= status.RaftIndex))
			s.note("in use is not beyond the size", fmt.Sprint(status.DbSizeInUse <= status.DbSize))
		}
	})
	shared("maintenance/defragment", func(s *side) {
		defragment := func() {
			unary(s, "Defragment", s.maintenance.Defragment, &pb.DefragmentRequest{})
		}
		defragment()
		rangeHistory(s)
		defragment()
		s.list()
		s.Range(&pb.RangeRequest{Key: s.key(""), RangeEnd: s.all(), Revision: s.at(5)})
	})
	shared("maintenance/hash-exists", func(s *side) {
		s.put("a", "v")
		unary(s, "Hash", s.maintenance.Hash, &pb.HashRequest{})
	})
}

func registerCluster() {
	for _, linearizable := range []bool{false, true} {
		shared(fmt.Sprintf("cluster/member-list-linearizable-%v", linearizable), func(s *side) {
			unary(s, "MemberList", s.cluster.MemberList, &pb.MemberListRequest{Linearizable: linearizable})
		})
	}
}

const (
	alarmGet        = pb.AlarmRequest_GET
	alarmActivate   = pb.AlarmRequest_ACTIVATE
	alarmDeactivate = pb.AlarmRequest_DEACTIVATE
)

func registerAlarms() {
	fresh("alarm/life", func(s *side) {
		own := s.server.memberID
		s.Alarm(alarmGet, 0, pb.AlarmType_NONE)
		s.Alarm(alarmActivate, own, pb.AlarmType_NOSPACE)
		s.Alarm(alarmActivate, own, pb.AlarmType_NOSPACE)
		s.Alarm(alarmGet, 0, pb.AlarmType_NONE)
		s.Alarm(alarmGet, 0, pb.AlarmType_NOSPACE)
		s.Alarm(alarmGet, 0, pb.AlarmType_CORRUPT)
		s.Alarm(alarmGet, 12345, pb.AlarmType_NOSPACE)
		s.Status()
		s.Alarm(alarmDeactivate, 0, pb.AlarmType_NOSPACE)
		s.Alarm(alarmDeactivate, own, pb.AlarmType_CORRUPT)
		s.Alarm(alarmDeactivate, own, pb.AlarmType_NONE)
		s.Alarm(alarmGet, 0, pb.AlarmType_NONE)
		s.Alarm(alarmDeactivate, own, pb.AlarmType_NOSPACE)
		s.Alarm(alarmDeactivate, own, pb.AlarmType_NOSPACE)
		s.Alarm(alarmGet, 0, pb.AlarmType_NONE)
		s.put("a", "v")
	})
	fresh("alarm/several-members-and-types", func(s *side) {
		own := s.server.memberID
		s.Alarm(alarmActivate, 77, pb.AlarmType_NOSPACE)
		s.Alarm(alarmActivate, 0, pb.AlarmType_NOSPACE)
		s.Alarm(alarmActivate, own, pb.AlarmType_CORRUPT)
		s.Alarm(alarmGet, 0, pb.AlarmType_NONE)
		s.Alarm(alarmGet, 0, pb.AlarmType_NOSPACE)
		s.Alarm(alarmDeactivate, 77, pb.AlarmType_NOSPACE)
		s.Alarm(alarmDeactivate, 0, pb.AlarmType_NOSPACE)
		s.Alarm(alarmGet, 0, pb.AlarmType_NONE)
		s.put("a", "refused while corrupt")
		s.Alarm(alarmDeactivate, own, pb.AlarmType_CORRUPT)
		s.put("a", "v")
	})
	fresh("alarm/none-and-unknown", func(s *side) {
		s.Alarm(alarmActivate, s.server.memberID, pb.AlarmType_NONE)
		s.Alarm(alarmGet, 0, pb.AlarmType_NONE)
		s.Alarm(alarmActivate, 5, 9)
		s.Alarm(alarmGet, 0, pb.AlarmType_NONE)
		s.Alarm(alarmGet, 0, 9)
		s.put("a", "v")
		s.Alarm(alarmDeactivate, 5, 9)
	})
	waiting("alarm/survives-a-restart", true, func(s *side) {
		s.put("a", "v")
		s.Alarm(alarmActivate, s.server.memberID, pb.AlarmType_NOSPACE)
		s.Restart(syscall.SIGTERM)
		s.Alarm(alarmGet, 0, pb.AlarmType_NONE)
		s.put("a", "w")
		s.get("a")
	})
}

// registerAlarmEffects sends every request while an alarm is up, then again
// when it is not.
func registerAlarmEffects() {
	for _, alarm := range []pb.AlarmType{pb.AlarmType_NOSPACE, pb.AlarmType_CORRUPT} {
		fresh(fmt.Sprintf("alarm/effect-of-%s", alarm), func(s *side) {
			rangeHistory(s)
			s.Grant(21, 600)
			s.Grant(22, 600)
			s.putLeased("leased", "v", 21)
			w := s.Watch("w")
			defer w.close()
			w.createOn(s.at(1))
			w.events(12)
			s.Alarm(alarmActivate, s.server.memberID, alarm)
			everyRequest(s)
			w.createOn(s.at(10))
			w.receive(1)
			s.HTTP("GET", "/health")
			s.HTTP("GET", "/health?exclude="+alarm.String())
			s.HTTP("GET", "/readyz?verbose")
			s.HTTP("GET", "/livez?verbose")
			s.Alarm(alarmDeactivate, s.server.memberID, alarm)
			everyRequest(s)
			s.HTTP("GET", "/health")
			s.HTTP("GET", "/readyz?verbose")
		})
	}
	fresh("alarm/both-at-once", func(s *side) {
		s.put("a", "v")
		s.Alarm(alarmActivate, s.server.memberID, pb.AlarmType_NOSPACE)
		s.Alarm(alarmActivate, s.server.memberID, pb.AlarmType_CORRUPT)
		everyRequest(s)
		s.Alarm(alarmDeactivate, s.server.memberID, pb.AlarmType_CORRUPT)
		everyRequest(s)
		s.Alarm(alarmDeactivate, s.server.memberID, pb.AlarmType_NOSPACE)
	})
	fresh("alarm/quota-reached", func(s *side) {
		// When the limit is reached depends on how each counts, so the number
		// of writes, and with it every revision, stays out of the comparison.
		s.hideRevisions = true
		value := make([]byte, 512<<10)
		var refused error
		for i := range 200 {
			_, err := s.kv.Put(s.ctx, &pb.PutRequest{Key: s.key(fmt.Sprintf("%03d", i)), Value: value})
			if refused = err; err != nil {
				break
			}
		}
		s.record("write until it is refused", failure(refused))
		s.eventually("the alarm is up", messageDeadline, func() bool {
			answer, err := s.maintenance.Alarm(s.ctx, &pb.AlarmRequest{})
			return err == nil && len(answer.Alarms) == 1
		})
		s.Alarm(alarmGet, 0, pb.AlarmType_NONE)
		s.Put(&pb.PutRequest{Key: s.key("new"), Value: value})
		s.Txn(&pb.TxnRequest{Success: []*pb.RequestOp{opPut(&pb.PutRequest{Key: s.key("new"), Value: value})}})
		s.Range(&pb.RangeRequest{Key: s.key("new")})
		s.Range(&pb.RangeRequest{Key: s.key("000"), KeysOnly: true, Limit: 1})
		s.HTTP("GET", "/health")
		s.HTTP("GET", "/health?exclude=NOSPACE")
		s.HTTP("GET", "/readyz")
	}, "--quota-backend-bytes", fmt.Sprint(16<<20))
}

// everyRequest sends one of each kind, with all shapes that a check may tell
// apart.
func everyRequest(s *side) {
	s.put("a", "v")
	s.put("new", "v")
	s.Put(&pb.PutRequest{Key: nil})
	s.Put(&pb.PutRequest{Key: s.key("a"), Lease: 99})
	s.Put(&pb.PutRequest{Key: s.key("a"), IgnoreValue: true})
	s.Put(&pb.PutRequest{Key: s.key("a"), Value: make([]byte, 1600<<10)})
	s.Txn(&pb.TxnRequest{Success: []*pb.RequestOp{s.opSet("a", "w")}})
	s.Txn(&pb.TxnRequest{Failure: []*pb.RequestOp{s.opSet("a", "w")}})
	s.Txn(&pb.TxnRequest{Success: []*pb.RequestOp{opTxn(&pb.TxnRequest{Success: []*pb.RequestOp{s.opSet("a", "x")}})}})
	s.Txn(&pb.TxnRequest{Success: []*pb.RequestOp{opTxn(&pb.TxnRequest{Failure: []*pb.RequestOp{s.opSet("a", "x")}})}})
	s.Txn(&pb.TxnRequest{Success: []*pb.RequestOp{s.opRemove("e")}})
	s.Txn(&pb.TxnRequest{Success: []*pb.RequestOp{s.opRemove("nothing")}})
	s.Txn(&pb.TxnRequest{})
	s.Txn(&pb.TxnRequest{Success: []*pb.RequestOp{s.opGet("a")}})
	s.Txn(&pb.TxnRequest{Success: []*pb.RequestOp{s.opSet("a", "1"), s.opSet("a", "2")}})
	s.remove("ee")
	s.remove("nothing")
	s.list()
	s.Range(&pb.RangeRequest{Key: s.key("a"), Serializable: true})
	s.Stream(&pb.RangeRequest{Key: s.key(""), RangeEnd: s.all()})
	s.Grant(23, 600)
	s.Grant(22, 600)
	s.keepAlive(21, 22, 23)
	s.TimeToLive(21, true)
	s.Leases()
	s.Revoke(23)
	s.Revoke(24)
	s.Revoke(21)
	s.Compact(3, false)
	s.Compact(3, true)
	s.Compact(1000, true)
	s.HashKV(0)
	s.Status()
	s.Alarm(alarmGet, 0, pb.AlarmType_NONE)
	unary(s, "Defragment", s.maintenance.Defragment, &pb.DefragmentRequest{})
	unary(s, "Hash", s.maintenance.Hash, &pb.HashRequest{})
	unary(s, "MemberList", s.cluster.MemberList, &pb.MemberListRequest{Linearizable: true})
}
